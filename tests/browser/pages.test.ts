import type { Saga } from '@backstitch/core'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { openTheatre, startApi } from '../e2e/processes.ts'
import { barriers, type Opened, openBrowser, openStage, type Stage, whyNoBrowser } from './stage.ts'

const missing = whyNoBrowser()
if (missing !== undefined) process.stderr.write(`The pages are not looked at: ${missing}.\n`)

const HTML = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
const BACKWARDS = '\u{202e}sdrawkcab\u{202c} \u{5e9}\u{5dc}\u{5d5}\u{5dd}'
const LONG_KEY = `${HTML}${BACKWARDS}\u{1f9f5}${'k'.repeat(100)}`

let stage: Stage
beforeAll(async () => {
  if (missing !== undefined) return
  stage = await openStage()
  await furnish()
})
afterAll(async () => {
  if (missing === undefined) await stage.close()
})

const isStuck = ({ status }: Saga) => status === 'stuck'
const hasEnded = ({ endedAt }: Saga) => endedAt !== undefined

/** Something for each page to show, and none of it friendly. */
async function furnish(): Promise<void> {
  await stage.saga('order', {}, hasEnded)
  await stage.saga('order', { chargeIsUncertain: true }, hasEnded)
  await stage.saga(
    'order',
    { fails: ['invoice'], undoFails: ['reserve'], says: `${HTML} ${BACKWARDS} ${'w'.repeat(8_000)}` },
    isStuck,
    { sagaKey: LONG_KEY, correlationId: HTML, tags: { note: HTML.padEnd(250, '!'), words: BACKWARDS } },
  )
  await stage.ask('PUT', '/v1/schedules/nightly', {
    definition: 'order',
    input: { orderId: HTML },
    cron: '0 3 * * *',
    timeZone: 'Europe/Berlin',
  })
  await stage.ask('POST', '/v1/webhooks', {
    url: `https://hooks.example/${'h'.repeat(300)}`,
    types: ['saga.abandoned'],
    description: `${HTML} ${BACKWARDS}`,
  })
  await stage.ask('POST', '/v1/bulk', {
    filter: { status: ['stuck'] },
    verb: 'pause',
    reason: `${HTML} ${BACKWARDS}`,
  })
}

/** A page with everything on it fetched. */
async function open(path: string): Promise<Opened> {
  const page = await stage.open(path)
  await page.getByRole('heading', { level: 1 }).waitFor()
  await page.getByText('Loading …').first().waitFor({ state: 'detached' })
  return page
}

describe.skipIf(missing !== undefined)('the dashboard', { timeout: 180_000 }, () => {
  test.each([
    ['/', 'Needs a person'],
    ['/sagas', 'that is all'],
    ['/definitions', 'order'],
    ['/definitions/order', 'order'],
    ['/workers', 'of 200'],
    ['/services', 'Circuit breaker'],
    ['/schedules', 'nightly'],
    ['/webhooks', 'hooks.example'],
    ['/bulk', 'pause 1'],
    ['/audit', '<img src=x'],
  ])(
    'the page %s takes what it shows for text, and has no barrier, by day and by night',
    { timeout: 180_000 },
    async (path, shown) => {
      const page = await open(path)
      await page.getByRole('main').getByText(shown).first().waitFor()
      expect(await page.locator('main img, main script').count()).toBe(0)
      expect(await barriers(page)).toEqual([])
      await page.emulateMedia({ colorScheme: 'dark' })
      expect(await barriers(page)).toEqual([])
      await page.setViewportSize({ width: 390, height: 844 })
      expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0)
      // Nor does a table: its rows are cards there.
      const hidden = `[...document.querySelectorAll('.stacked')].map((one) => one.scrollWidth - one.parentElement.clientWidth)`
      expect(Math.max(0, ...(await page.evaluate<number[]>(hidden)))).toBe(0)
      expect(page.complaints).toEqual([])
      await page.close()
    },
  )

  test('the list shows hostile keys and reasons as they are, and finds them', async () => {
    const page = await open('/sagas')
    const row = page.getByRole('listitem').filter({ hasText: 'onerror' })
    await row.getByText(LONG_KEY).waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type(HTML.slice(0, 20))
    await page.keyboard.press('Enter')
    await page.getByText('1 shown, that is all').waitFor()
    await row.getByText(LONG_KEY).waitFor()
    expect(new URL(page.url()).searchParams.get('q')).toBe(HTML.slice(0, 20))
    await row.getByRole('link').click()
    await page.getByRole('heading', { level: 1 }).getByText(LONG_KEY).waitFor()
    await page.getByRole('link', { name: 'note:' }).click()
    await page.getByText('1 shown, that is all').waitFor()
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('the dashboard goes by keys alone', async () => {
    const page = await open('/sagas')
    const rows = page.getByRole('list', { name: 'Sagas' }).getByRole('listitem')
    const current = () => rows.evaluateAll((all) => all.findIndex((row) => row.ariaCurrent === 'true'))
    await rows.first().waitFor()
    await page.keyboard.press('j')
    await page.keyboard.press('j')
    await expect.poll(current).toBe(2)
    await page.keyboard.press('k')
    await expect.poll(current).toBe(1)
    await page.keyboard.press('x')
    await page.getByText('1 selected').waitFor()
    expect(await rows.nth(1).getByRole('checkbox').isChecked()).toBe(true)
    await page.keyboard.press('Escape')
    await page.getByText('1 selected').waitFor({ state: 'detached' })

    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keys' }).getByText('select the row').waitFor()
    await page.keyboard.press('x')
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    expect(await page.getByText('1 selected').count()).toBe(0)

    await page.keyboard.press('/')
    await page.keyboard.type('jkx?')
    expect(await page.getByRole('searchbox', { name: 'Search sagas' }).inputValue()).toBe('jkx?')
    await page.getByRole('searchbox', { name: 'Search sagas' }).blur()

    const name = await rows.nth(1).getByRole('link').getAttribute('href')
    await page.keyboard.press('Enter')
    await expect.poll(() => page.url()).toContain(name?.slice(1))
    await page.getByRole('region', { name: 'Where it stands' }).waitFor()

    await page.keyboard.press('Control+k')
    await page.getByRole('dialog', { name: 'Jump to' }).waitFor()
    await page.keyboard.type('work')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { level: 1, name: 'Workers' }).waitFor()
    await page.keyboard.press('g')
    await page.keyboard.press('d')
    await page.getByRole('heading', { level: 1, name: 'Definitions' }).waitFor()
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('a saga that is no longer what the list asks for says so in its place, and the last one leaves an empty list', {
    timeout: 180_000,
  }, async () => {
    const [one, other] = [
      await stage.saga('order', { orderId: 'o-drain', fails: ['notify'] }, isStuck, {
        tags: { of: 'drain' },
      }),
      await stage.saga('order', { orderId: 'o-drain', fails: ['notify'] }, isStuck, {
        tags: { of: 'drain' },
      }),
    ]
    const page = await open('/sagas?status=stuck&tag.of=drain')
    await page.getByText('2 shown, that is all').waitFor()
    await stage.ask('POST', `/v1/sagas/${one}/skip`, { reason: 'not needed' })
    const rows = page.getByRole('list', { name: 'Sagas' }).getByRole('listitem')
    await rows.nth(1).getByText('moved on').waitFor()
    await rows.nth(0).getByTitle('needs a person').waitFor()
    await stage.ask('POST', `/v1/sagas/${other}/skip`, { reason: 'not needed' })
    await page.getByText('No saga is like that').waitFor()
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('what gets stuck is new in the list of those that are, although it was started before them', async () => {
    const tags = { of: 'late' }
    const waits = ({ next }: Saga) => next.attempts?.some(({ waiting }) => waiting !== undefined) === true
    const older = await stage.saga('order', { needsApproval: true, fails: ['notify'] }, waits, { tags })
    await stage.saga('order', { fails: ['notify'] }, isStuck, { tags })
    const page = await open('/sagas?status=stuck&tag.of=late')
    await page.getByText('1 shown, that is all').waitFor()
    await stage.ask('POST', `/v1/sagas/${older}/signals/approved`, {})
    await page.getByRole('button', { name: '1 new' }).click()
    await page.getByText('2 shown, that is all').waitFor()
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('a view that is saved is there when the page is opened again, and can be forgotten', async () => {
    const page = await open('/sagas?status=stuck&definition=order')
    await page.getByRole('button', { name: 'Save this view' }).click()
    const view = page.getByRole('button', { name: 'status stuck, definition order', exact: true })
    await page.goto(`${stage.url}/sagas`)
    await view.click()
    await expect.poll(() => new URL(page.url()).search).toBe('?status=stuck&definition=order')
    await page.getByRole('button', { name: 'Forget the view status stuck, definition order' }).click()
    await view.waitFor({ state: 'detached' })
    await page.getByRole('button', { name: 'Save this view' }).waitFor()
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('the audit log goes back page by page, and holds one of them', async () => {
    for (let n = 0; n < 51; n++) {
      await stage.ask('POST', '/v1/schedules/nightly/pause', { reason: `look ${n}` })
      await stage.ask('POST', '/v1/schedules/nightly/resume', { reason: `looked ${n}` })
    }
    const page = await open('/audit?actor=grace')
    const rows = page.getByRole('row')
    await page.getByText('looked 50', { exact: true }).waitFor()
    expect(await rows.count()).toBe(101)
    await page.getByRole('link', { name: 'Older' }).click()
    await page.getByText('look 0', { exact: true }).waitFor()
    expect(await rows.count()).toBeLessThanOrEqual(101)
    await page.getByRole('link', { name: 'Newest' }).click()
    await page.getByText('looked 50', { exact: true }).waitFor()
    expect(new URL(page.url()).search).toBe('?actor=grace')
    expect(page.complaints).toEqual([])
    await page.close()
  })

  test('under a prefix the pages load what they are made of, and lead to one another', async () => {
    const theatre = await openTheatre()
    const api = await startApi(theatre.database.url, { BASE_PATH: '/tools/backstitch' })
    const sagaId = await theatre.start({})
    const browser = await openBrowser()
    onTestFinished(() => browser.close())
    const page = await browser.open(`${api.url}/tools/backstitch/sagas/${sagaId}`)
    await page.getByRole('region', { name: 'Where it stands' }).waitFor()
    for (const name of ['Sagas', 'Definitions', 'Bulk', 'Overview']) {
      await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name }).click()
      await page.getByRole('heading', { level: 1, name }).waitFor()
      expect(new URL(page.url()).pathname).toMatch(/^\/tools\/backstitch\//)
    }
    await page.getByText('No worker is alive').waitFor()
    const asked: string[] = []
    page.on('request', (request) => asked.push(new URL(request.url()).pathname))
    await page.reload()
    await page.getByText('No worker is alive').waitFor()
    // The API itself answers without the prefix, too; whoever stands in front of it would not.
    expect(asked).toContain('/tools/backstitch/seam.svg')
    expect(asked.filter((path) => !path.startsWith('/tools/backstitch/'))).toEqual([])
    expect(page.complaints).toEqual([])
  })
})
