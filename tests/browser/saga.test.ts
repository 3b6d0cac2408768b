import type { Saga } from '@backstitch/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { barriers, type Opened, openStage, type Stage, whyNoBrowser } from './stage.ts'

const missing = whyNoBrowser()
if (missing !== undefined) process.stderr.write(`The dashboard is not looked at: ${missing}.\n`)

let stage: Stage
beforeAll(async () => {
  if (missing === undefined) stage = await openStage()
})
afterAll(async () => {
  if (missing === undefined) await stage.close()
})

const isStuck = ({ status }: Saga) => status === 'stuck'
const hasEnded = ({ endedAt }: Saga) => endedAt !== undefined
const waits = ({ next }: Saga) => next.attempts?.some(({ waiting }) => waiting !== undefined) === true

/** The page of a saga, with everything on it fetched. */
async function openSaga(sagaId: string, how?: Parameters<Stage['open']>[1]): Promise<Opened> {
  const page = await stage.open(`/sagas/${sagaId}`, how)
  await page.getByRole('list', { name: 'Attempts in order of time' }).waitFor()
  await page.getByRole('group', { name: 'The steps: forward above, undo below' }).waitFor()
  return page
}

describe.skipIf(missing !== undefined)('the page of a saga', { timeout: 180_000 }, () => {
  test.each<
    [name: string, definition: string, input: Record<string, unknown>, until: (saga: Saga) => boolean]
  >([
    ['that has completed', 'order', {}, hasEnded],
    ['that failed and may have left something', 'order', { chargeIsUncertain: true }, hasEnded],
    ['that is stuck in an undo', 'order', { orderId: 'o-norefund', fails: ['invoice'] }, isStuck],
    ['that is stuck past its pivot', 'order', { fails: ['notify'] }, isStuck],
    ['that waits for a signal', 'order', { needsApproval: true }, waits],
    ['that waits for its child', 'trip', { needsApproval: true }, waits],
  ])(
    '%s has no barrier, no complaint and no width to spare, by day and by night',
    async (_name, definition, input, until) => {
      const sagaId = await stage.saga(definition, input, until)
      const page = await openSaga(sagaId)
      expect(await barriers(page)).toEqual([])
      await page.emulateMedia({ colorScheme: 'dark' })
      expect(await barriers(page)).toEqual([])
      await page.setViewportSize({ width: 390, height: 844 })
      expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0)
      expect(page.complaints).toEqual([])
      await page.close()
    },
  )

  test('shows of an attempt what was sent and what came of it, and no secret', async () => {
    const sagaId = await stage.saga('order', { orderId: 'o-4711' }, hasEnded)
    const page = await openSaga(sagaId)
    await page.getByRole('button', { name: /^charge\s+attempt 1\s+done/ }).click()
    const detail = page.getByRole('listitem').filter({ hasText: 'Sent' })
    await detail.getByText('"o-4711"').waitFor()
    await detail.getByText('"c-1"').waitFor()
    await detail.getByText(`${sagaId}:charge:action:1`).waitFor()
    await detail.getByText('Authorization: •••').waitFor()
    expect(await page.content()).not.toContain('not-for-your-eyes')
    await page.close()
  })

  test('goes on with a stuck saga by keys alone, and shows what comes of it', async () => {
    const sagaId = await stage.saga('order', { orderId: 'o-1-norefund', fails: ['invoice'] }, isStuck)
    const page = await openSaga(sagaId)
    await page.getByRole('button', { name: 'Mark compensated' }).focus()
    await page.keyboard.press('Enter')
    const dialog = page.getByRole('dialog', { name: 'Mark compensated: undo of charge' })
    await dialog.getByText('↶ reserve').waitFor()
    await dialog.getByLabel('What you did by hand, for the history').focus()
    await page.keyboard.type('refunded by hand, ticket 4711')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.getByText('Mark compensated: accepted.').waitFor()
    await page.getByText('It failed, and everything owed has been undone.').waitFor()
    await page.getByText('dashboard: refunded by hand, ticket 4711').first().waitFor()
    const { compensatedSteps } = await stage.until(sagaId, hasEnded)
    expect(compensatedSteps).toContain('charge')
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('retries with an edited input, beside what was sent before', async () => {
    const sagaId = await stage.saga('order', { fails: ['notify'] }, isStuck)
    const page = await openSaga(sagaId)
    await page.getByRole('button', { name: 'Retry', exact: true }).click()
    const dialog = page.getByRole('dialog', { name: 'Retry: notify' })
    await dialog.getByLabel('with another input for this step').check()
    const input = dialog.getByLabel('The field “input” of what is sent')
    await dialog.getByText('nothing is changed yet').waitFor()
    await input.fill('{"orderId": ')
    await dialog.getByText('This is no JSON yet').waitFor()
    await input.fill('{"orderId": "o-1", "fails": []}')
    await dialog.getByRole('list', { name: 'What changes' }).getByText('fails').waitFor()
    await dialog.getByLabel('Why, for the history').fill('the address was wrong')
    await dialog.getByRole('button', { name: 'Retry' }).click()
    await page.getByText('Everything is done.').waitFor()
    await page.getByRole('button', { name: /^notify\s+attempt 1\s+done/ }).click()
    await page.getByText(`${sagaId}:notify:action:2`).waitFor()
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('shows what has happened when somebody else was quicker, and does nothing then', async () => {
    const sagaId = await stage.saga('order', { orderId: 'o-2-norefund', fails: ['invoice'] }, isStuck)
    const page = await openSaga(sagaId)
    await page.getByRole('button', { name: 'Skip' }).click()
    const dialog = page.getByRole('dialog', { name: /^Skip/ })
    await dialog.getByLabel('Why, for the history').fill('never mind')
    await stage.ask('POST', `/v1/sagas/${sagaId}/retry`, { reason: 'perhaps now' })
    await dialog.getByText('The saga has moved on').waitFor()
    await dialog.getByText('grace: perhaps now').waitFor()
    expect(await dialog.getByRole('button', { name: 'Skip' }).count()).toBe(0)
    await stage.until(sagaId, isStuck)
    await dialog.getByRole('button', { name: 'I have seen it' }).click()
    await dialog.getByRole('button', { name: 'Skip' }).click()
    await page.getByText('A person closed it').waitFor()
    await page.close()
  })

  test('leads to its trace, wherever this browser is told that traces are', async () => {
    const sagaId = await stage.saga('order', {}, hasEnded)
    const page = await openSaga(sagaId)
    const keep = async (template: string) => {
      await page.getByRole('dialog').getByRole('textbox').fill(template)
      await page.getByRole('button', { name: 'Keep' }).click()
    }
    await page.getByRole('button', { name: 'link', exact: true }).click()
    await keep('https://traces.example/trace/{traceId}')
    const link = page.getByRole('link', { name: sagaId.replaceAll('-', '') })
    expect(await link.getAttribute('href')).toBe(`https://traces.example/trace/${sagaId.replaceAll('-', '')}`)
    await page.getByRole('button', { name: 'change', exact: true }).click()
    await keep('javascript:alert("{traceId}")')
    await link.waitFor({ state: 'detached' })
    await page.close()
  })

  test('says why something cannot be done', async () => {
    const sagaId = await stage.saga('order', { fails: ['notify'] }, isStuck)
    const page = await openSaga(sagaId)
    await page.getByRole('button', { name: 'Mark compensated' }).click()
    await page.getByRole('dialog').getByText('there is no compensation to mark as done').waitFor()
    expect(await page.getByRole('dialog').getByRole('button', { name: 'Mark compensated' }).count()).toBe(0)
    await page.close()
  })

  test('takes whatever a saga holds for text', async () => {
    const html = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
    const sagaId = await stage.saga(
      'order',
      {
        fails: ['invoice'],
        undoFails: ['reserve'],
        says: `${html} \u{202e}gnol ${'w'.repeat(7_000)}`,
        gives: { html, large: 'x'.repeat(500_000), ключ: '\u{2028}\u{1f9f5}' },
      },
      isStuck,
      {
        sagaKey: `\u{202e}${html}${'k'.repeat(150)}`,
        tags: { note: html.padEnd(250, '!') },
        correlationId: html,
      },
    )
    const page = await openSaga(sagaId)
    expect(await page.locator('main img, main script').count()).toBe(0)
    await page.getByRole('button', { name: /^reserve\s+attempt 1\s+done/ }).click()
    await page.getByText('is large and not shown here').waitFor()
    await page.getByRole('button', { name: 'Show it' }).click()
    await page.getByText('characters', { exact: false }).first().waitFor()
    for (const tab of ['Context', /^History/, 'Raw']) await page.getByRole('tab', { name: tab }).click()
    await page.setViewportSize({ width: 390, height: 844 })
    expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0)
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('of two hundred steps holds no more of them in the page than are seen', async () => {
    const sagaId = await stage.saga('long', { fails: ['step120'], undoFails: ['step60'] }, isStuck)
    const page = await openSaga(sagaId)
    await page.getByText('180 attempts').waitFor()
    expect(await page.getByRole('listitem').count()).toBeLessThan(80)
    // It begins where something is the matter.
    await page.getByRole('button', { name: /undo of step60\s+stuck/ }).waitFor()
    expect(await page.locator('.react-flow__node').count()).toBeLessThan(60)
    await page.getByRole('button', { name: /undo of step60\s+stuck/ }).click()
    await page.getByText('2 attempts').waitFor()
    await page.getByRole('tab', { name: /^History/ }).click()
    expect(await page.getByRole('listitem').count()).toBeLessThan(80)
    await page.close()
  })
})

describe.skipIf(missing !== undefined)('the page of a definition', { timeout: 180_000 }, () => {
  test('draws what happens when a step fails, and starts a saga from its schema', async () => {
    const wide = await stage.open('/definitions/order')
    await wide.getByLabel('What happens').selectOption({ label: 'invoice fails for good' })
    await wide.getByRole('button', { name: /invoice\s+failed/ }).waitFor()
    await wide.getByRole('button', { name: /undo of charge\s+to be undone/ }).waitFor()
    for (const colorScheme of ['light', 'dark'] as const) {
      await wide.emulateMedia({ colorScheme })
      expect(await barriers(wide)).toEqual([])
    }
    expect(wide.complaints).toEqual([])
    await wide.close()
    const page = await stage.open('/definitions/order', { width: 390 })
    await page.getByLabel('Order *').fill('o-9')
    expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0)
    await page.getByRole('button', { name: 'as JSON' }).click()
    await page.getByLabel('Input, as JSON').fill('{"orderId": 7}')
    await page.getByRole('button', { name: 'Start version 1' }).click()
    await page.getByRole('alert').getByText('/input/orderId').first().waitFor()
    await page.getByLabel('Input, as JSON').fill('{"orderId": "o-9"}')
    await page.getByRole('button', { name: 'Start version 1' }).click()
    await page.getByText('Everything is done.').waitFor()
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('compares two versions', async () => {
    const [order] = (await stage.ask('GET', '/v1/definitions/order/versions/1').then((one) => [one])) as [
      { document: Record<string, unknown> },
    ]
    await stage.ask('POST', '/v1/definitions', { ...order.document, description: 'slower <b>now</b>' })
    const page = await stage.open('/definitions/order')
    const changes = page.getByRole('list', { name: 'What changes' })
    await changes.getByText('slower <b>now</b>').waitFor()
    expect(await changes.getByRole('listitem').count()).toBe(1)
    await page.close()
  })
})
