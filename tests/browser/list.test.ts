import { describe, expect, onTestFinished, test } from 'vitest'
import { type Opened, openBrowser, whyNoBrowser } from './stage.ts'
import { openStandIn, type StandIn } from './stand-in.ts'

const missing = whyNoBrowser()
const ROWS = 6_000

/** What many rows cost, in what can be counted anywhere; in milliseconds it is measured by list-main.ts. */

async function openList(
  rows: number,
): Promise<{ page: Opened; api: StandIn; load(until: number): Promise<void> }> {
  const api = await openStandIn(rows)
  const browser = await openBrowser()
  onTestFinished(async () => {
    await browser.close()
    api.close()
  })
  const page = await browser.open(`${api.url}/sagas`)
  page.setDefaultTimeout(20_000)
  const shown = page.getByText(/ shown, /)
  await shown.waitFor()
  const list = page.getByRole('list', { name: 'Sagas' })
  return {
    page,
    api,
    async load(until) {
      while (Number(((await shown.textContent()) ?? '').replaceAll(/\D/g, '')) < until)
        await list.evaluate((box) => {
          box.scrollTop = box.scrollHeight
        })
    },
  }
}

const elements = (page: Opened) => page.evaluate<number>(`document.querySelectorAll('*').length`)
const listed = ({ asked }: StandIn) => asked.filter((path) => path.startsWith('/v1/sagas?'))

/** How often each function of the page was called meanwhile, by where it stands. */
async function callsDuring(page: Opened, act: () => Promise<void>): Promise<Map<string, number>> {
  const devtools = await page.context().newCDPSession(page)
  await devtools.send('Profiler.enable')
  await devtools.send('Profiler.startPreciseCoverage', { callCount: true, detailed: false })
  await devtools.send('Profiler.takePreciseCoverage')
  await act()
  const { result } = await devtools.send('Profiler.takePreciseCoverage')
  await devtools.send('Profiler.stopPreciseCoverage')
  return new Map(
    result
      .filter(({ url }) => url.includes('/assets/'))
      .flatMap(({ functions }) =>
        functions.map(({ ranges: [range] }) => [String(range?.startOffset), range?.count ?? 0] as const),
      ),
  )
}

describe.skipIf(missing !== undefined)('a list of thousands', { timeout: 180_000 }, () => {
  test('holds no more in the page than a short one, and goes through its rows neither for a page more nor for what is new', async () => {
    const { page, api, load } = await openList(ROWS + 500)
    await load(300)
    const forFew = await callsDuring(page, async () => {
      await load(400)
      api.start(12)
      await page.getByRole('button', { name: '12 new' }).waitFor()
    })
    await load(ROWS)
    expect(await elements(page)).toBeLessThan(700)
    const forMany = await callsDuring(page, async () => {
      await load(ROWS + 100)
      api.start(12)
      await page.getByRole('button', { name: '24 new' }).waitFor()
    })
    const more = [...forMany].map(([place, count]) => count - (forFew.get(place) ?? 0))
    expect(forFew.size).toBeGreaterThan(100)
    expect(Math.max(...more)).toBeLessThan(ROWS)
    expect(page.complaints).toEqual([])
  })

  test('of what has happened asks for the newest page and for those in sight, and no row moves until the new are let in', async () => {
    const { page, api, load } = await openList(3_000)
    await load(2_500)
    const list = page.getByRole('list', { name: 'Sagas' })
    await list.evaluate((box) => {
      box.scrollTop = 2_000 * 58
    })
    const row = list.getByRole('listitem').filter({ hasText: 'order-997' })
    await row.getByText('running').waitFor()
    const place = await row.boundingBox()
    // It rests, and what is in sight has been looked at.
    await expect.poll(() => listed(api).at(-1)).toContain('cursor=999')
    const before = listed(api).length

    api.become(997, 'compensating')
    await row.getByText('compensating').waitFor()
    api.start(7)
    await page.getByRole('button', { name: '7 new' }).waitFor()
    expect(new Set(listed(api).slice(before))).toEqual(
      new Set(['/v1/sagas?limit=100', '/v1/sagas?cursor=999&limit=100']),
    )
    expect(await row.boundingBox()).toEqual(place)

    const asked = listed(api).length
    await page.getByRole('button', { name: '7 new' }).click()
    await list.getByText('order-3006', { exact: true }).waitFor()
    await page.getByText('100 shown, more below').waitFor()
    expect(
      listed(api)
        .slice(asked)
        .every((path) => !path.includes('cursor=')),
    ).toBe(true)
    expect(page.complaints).toEqual([])
  })
})
