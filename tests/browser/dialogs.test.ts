import type { Saga } from '@backstitch/core'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { openTheatre, startApi } from '../e2e/processes.ts'
import { barriers, type Opened, openBrowser, openStage, type Stage, whyNoBrowser } from './stage.ts'

const missing = whyNoBrowser()

let stage: Stage
beforeAll(async () => {
  if (missing === undefined) stage = await openStage()
})
afterAll(async () => {
  if (missing === undefined) await stage.close()
})

const isStuck = ({ status }: Saga) => status === 'stuck'
const isRunning = ({ status }: Saga) => status === 'running'
const waits = ({ next }: Saga) => next.attempts?.some(({ waiting }) => waiting !== undefined) === true

/** By day and by night, with what is open left open. */
async function expectNoBarrier(page: Opened): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    expect(await barriers(page)).toEqual([])
  }
}

/** The focus is in the dialog, stays there, and comes back to what opened it. */
async function expectToHoldFocus(page: Opened, opener: string): Promise<void> {
  const dialog = page.getByRole('dialog')
  for (let n = 0; n < 12; n++) {
    await page.keyboard.press('Tab')
    await expect
      .poll(() => dialog.evaluate((one) => one.contains(one.ownerDocument.activeElement)))
      .toBe(true)
  }
  await page.keyboard.press('Escape')
  await dialog.waitFor({ state: 'detached' })
  expect(await page.evaluate('document.activeElement.innerText')).toContain(opener)
}

describe.skipIf(missing !== undefined)('a dialog', { timeout: 180_000 }, () => {
  test('of each verb has no barrier, and holds the focus', async () => {
    const undone = await stage.saga('order', { orderId: 'o-norefund', fails: ['invoice'] }, isStuck)
    const waiting = await stage.saga('order', { needsApproval: true }, waits)
    const paused = await stage.saga('order', { needsApproval: true }, waits)
    await stage.ask('POST', `/v1/sagas/${paused}/pause`, { reason: 'for a look' })
    await stage.until(paused, (saga) => saga.paused !== undefined)
    const later = await stage.saga('trip', {}, ({ next }) => next.attempts?.[0]?.waiting?.for === 'delay')
    const seen = new Set<string>()
    for (const sagaId of [undone, waiting, paused, later]) {
      const page = await stage.open(`/sagas/${sagaId}`)
      const verbs = page.getByRole('region', { name: 'Fix it' }).getByRole('button')
      await verbs.first().waitFor()
      for (const name of await verbs.allTextContents()) {
        if (seen.has(name)) continue
        seen.add(name)
        await verbs.getByText(name, { exact: true }).click()
        await page.getByRole('dialog', { name }).waitFor()
        await expectNoBarrier(page)
        await expectToHoldFocus(page, name)
      }
      expect(page.complaints).toEqual([])
      await page.close()
    }
    expect([...seen].toSorted()).toEqual([
      'Abandon',
      'Cancel',
      'Mark compensated',
      'Pause',
      'Resume',
      'Retry',
      'Run now',
      'Skip',
    ])
  })

  test('of a retry with an edited input, and one that was too late, have no barrier', async () => {
    const sagaId = await stage.saga('order', { fails: ['notify'] }, isStuck)
    const page = await stage.open(`/sagas/${sagaId}`)
    await page.getByRole('button', { name: 'Retry', exact: true }).click()
    const dialog = page.getByRole('dialog', { name: 'Retry: notify' })
    await dialog.getByLabel('with another input for this step').check()
    await dialog.getByText('nothing is changed yet').waitFor()
    await expectNoBarrier(page)
    await dialog.getByLabel('The field “input” of what is sent').fill('{"orderId": ')
    await dialog.getByText('This is no JSON yet').waitFor()
    await expectNoBarrier(page)
    await dialog.getByLabel('The field “input” of what is sent').fill('{"orderId": "o-7"}')
    await dialog.getByRole('list', { name: 'What changes' }).waitFor()
    await expectNoBarrier(page)
    await stage.ask('POST', `/v1/sagas/${sagaId}/retry`, { reason: 'perhaps now' })
    await dialog.getByText('The saga has moved on').waitFor()
    await expectNoBarrier(page)
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('of many at once has no barrier: its dry run, and how far it is', async () => {
    for (let n = 0; n < 2; n++)
      await stage.saga('order', { fails: ['notify'] }, isStuck, { tags: { of: 'bulk' } })
    const page = await stage.open('/sagas?tag.of=bulk')
    await page.getByText('2 shown, that is all').waitFor()
    await page.keyboard.press('x')
    await page.getByRole('button', { name: 'Select all that match' }).click()
    await expectNoBarrier(page)
    await page.getByRole('button', { name: 'Pause' }).click()
    const dialog = page.getByRole('dialog', { name: 'Pause many' })
    await dialog.getByText('2 meant').waitFor()
    await expectNoBarrier(page)
    await dialog.getByLabel('Why, for the history of each').fill('for a look')
    await dialog.getByRole('button', { name: 'Pause' }).click()
    await dialog.getByText('All 2 asked').waitFor()
    await expectNoBarrier(page)
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('of the frame has no barrier: the places, the keys, and who acts; the filters of the list, too', async () => {
    const page = await stage.open('/sagas?status=stuck')
    await page.getByRole('heading', { level: 1 }).waitFor()
    await page.getByRole('button', { name: 'Jump' }).click()
    await page.getByRole('option').first().waitFor()
    await expectNoBarrier(page)
    await page.keyboard.type('no such place')
    await page.getByRole('option', { name: 'sagas with' }).waitFor()
    await expectNoBarrier(page)
    await expectToHoldFocus(page, 'Jump')
    await page.getByRole('button', { name: 'Keys' }).click()
    await page.getByRole('dialog', { name: 'Keys' }).waitFor()
    await expectNoBarrier(page)
    await expectToHoldFocus(page, 'Keys')
    await page.getByRole('button', { name: 'Who are you?' }).click()
    await page.getByRole('dialog', { name: 'Who are you?' }).waitFor()
    await expectNoBarrier(page)
    await expectToHoldFocus(page, 'Who are you?')
    await page.getByTitle('Change it').click()
    await page.getByRole('button', { name: 'Apply' }).waitFor()
    await expectNoBarrier(page)
    await page.keyboard.press('Escape')
    await page.getByRole('button', { name: '+ Filter' }).click()
    await page.getByRole('button', { name: 'failed step' }).waitFor()
    await expectNoBarrier(page)
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('of a saga’s trace, and of a webhook, its secret and its end, has no barrier', async () => {
    const sagaId = await stage.saga('order', { needsApproval: true }, isRunning)
    const page = await stage.open(`/sagas/${sagaId}`)
    await page.getByRole('button', { name: 'link', exact: true }).click()
    await page.getByRole('dialog', { name: 'Where are traces looked at?' }).waitFor()
    await expectNoBarrier(page)
    await expectToHoldFocus(page, 'link')
    await page.getByRole('link', { name: 'Webhooks' }).click()
    await page.getByRole('button', { name: 'New webhook' }).click()
    const dialog = page.getByRole('dialog', { name: 'New webhook' })
    await dialog.waitFor()
    await expectNoBarrier(page)
    await dialog.getByLabel('Address').fill('https://hooks.example/told')
    await dialog.getByRole('button', { name: 'Create' }).click()
    await page.getByRole('dialog', { name: 'Its secret' }).getByText('whsec_').waitFor()
    await expectNoBarrier(page)
    await page.keyboard.press('Escape')
    const webhook = page.getByRole('region', { name: 'Webhook to https://hooks.example/told' })
    await webhook.getByRole('button', { name: 'New secret' }).click()
    await page.getByRole('dialog', { name: 'New secret' }).waitFor()
    await expectNoBarrier(page)
    await page.keyboard.press('Escape')
    await webhook.getByRole('button', { name: 'Remove' }).click()
    await expectNoBarrier(page)
    await page.getByRole('dialog', { name: 'Remove' }).getByRole('button', { name: 'Remove' }).click()
    await webhook.waitFor({ state: 'detached' })
    expect(page.complaints).toEqual([])
    await page.close()
  })
})

test.skipIf(missing !== undefined)(
  'where there is nothing yet a page says what belongs there, and has no barrier',
  { timeout: 180_000 },
  async () => {
    const theatre = await openTheatre()
    const api = await startApi(theatre.database.url)
    const browser = await openBrowser()
    onTestFinished(() => browser.close())
    const page = await browser.open(api.url)
    for (const [path, said] of [
      ['/', 'No saga has been started here yet'],
      ['/sagas', 'No saga is like that'],
      ['/sagas?status=stuck', 'Take a filter away'],
      ['/sagas/00000000-0000-7000-8000-000000000000', 'There is no such saga'],
      ['/definitions/ledger', 'No saga of it has been started yet'],
      ['/definitions/nobody', 'There is no such definition'],
      ['/workers', 'No worker is alive'],
      ['/services', 'No service is known'],
      ['/schedules', 'Nothing is scheduled'],
      ['/webhooks', 'Nobody is told yet'],
      ['/bulk', 'Nothing has been done in bulk'],
      ['/audit', 'Nobody has acted here yet'],
      ['/nowhere', 'There is no such page'],
    ] as const) {
      await page.goto(`${api.url}${path}`)
      await page.getByRole('main').getByText(said).waitFor()
      await expectNoBarrier(page)
    }
    expect(page.complaints).toEqual([])
  },
)
