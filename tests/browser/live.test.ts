import { expect, onTestFinished, test } from 'vitest'
import { openTheatre, startApi } from '../e2e/processes.ts'
import { type Cut, openGate } from './gate.ts'
import { openBrowser, whyNoBrowser } from './stage.ts'

const missing = whyNoBrowser()

/** Whatever would ask again by itself does not, while `held`. */
const HOLD = `
  window.held = true
  const real = window.setInterval
  window.setInterval = (act, ms, ...rest) => real((...given) => (window.held && ms >= 2000) || act(...given), ms, ...rest)`

test.skipIf(missing !== undefined).each<[Cut]>([['refused'], ['dropped'], ['held']])(
  'a saga that is started elsewhere is told of by the stream; while that is %s, polling finds it; and then the stream again',
  { timeout: 180_000 },
  async (how) => {
    const theatre = await openTheatre()
    const api = await startApi(theatre.database.url, { BASE_PATH: '/tools' })
    const gate = await openGate(api.url)
    const browser = await openBrowser()
    onTestFinished(() => browser.close())
    await theatre.start()
    const page = await browser.open('about:blank')
    page.setDefaultTimeout(25_000)
    await page.addInitScript(HOLD)
    await page.goto(`${gate.url}/tools/sagas`)
    await page.getByText('1 shown, that is all').waitFor()
    const told = page.getByRole('navigation').getByRole('status')

    await theatre.start()
    await page.getByRole('button', { name: '1 new' }).waitFor()
    await page.getByText('1 shown, that is all').waitFor()
    expect(await told.textContent()).toBe('')

    gate.cutStreams(how)
    await told.getByText('not live').waitFor()
    await page.evaluate('window.held = false')
    await theatre.start()
    await page.getByRole('button', { name: '2 new' }).waitFor()

    await page.evaluate('window.held = true')
    gate.letStreamsThrough()
    await told.getByText('not live').waitFor({ state: 'detached' })
    await theatre.start()
    await page.getByRole('button', { name: '3 new' }).waitFor()

    // One stream for the whole page, wherever it leads, and never beside the prefix.
    const streams = () => gate.asked.filter((path) => path.includes('/v1/events/stream'))
    const opened = streams().length
    for (const name of ['Overview', 'Audit log', 'Sagas']) {
      await page.getByRole('navigation').getByRole('link', { name }).click()
      await page.getByRole('heading', { level: 1, name }).waitFor()
    }
    expect(streams().length).toBe(opened)
    expect(gate.asked.filter((path) => !path.startsWith('/tools/'))).toEqual([])
    expect(page.complaints.filter((one) => !one.includes('net::'))).toEqual([])
  },
)

test.skipIf(missing !== undefined)(
  'however much happens, what it touches is asked for once a second at most; what it does not touch is not',
  { timeout: 180_000 },
  async () => {
    const theatre = await openTheatre()
    const api = await startApi(theatre.database.url)
    const gate = await openGate(api.url)
    const browser = await openBrowser()
    onTestFinished(() => browser.close())
    const page = await browser.open('about:blank')
    await page.addInitScript(HOLD)
    await page.goto(gate.url)
    await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor()
    const counted = page.getByRole('region', { name: 'Sagas by status' })
    await theatre.start()
    await counted.getByRole('link', { name: '1 running' }).waitFor()

    const before = gate.asked.length
    const begunAt = performance.now()
    for (let n = 0; n < 60; n++) await theatre.start()
    await counted.getByRole('link', { name: '61 running' }).waitFor()
    const seconds = Math.ceil((performance.now() - begunAt) / 1_000)
    const asked = gate.asked.slice(before).map((path) => path.split('?')[0])
    expect(asked.filter((path) => path === '/v1/stats').length).toBeLessThanOrEqual(seconds + 2)
    // Nothing that started is stuck: those lists are as they were.
    expect(gate.asked.slice(before).filter((path) => path.includes('status=stuck'))).toEqual([])
    expect(asked).not.toContain('/v1/workers')
  },
)

test.skipIf(missing !== undefined)(
  'a page whose stream is never answered says that it is not live, and does until it is',
  { timeout: 180_000 },
  async () => {
    const theatre = await openTheatre()
    const api = await startApi(theatre.database.url)
    const gate = await openGate(api.url)
    gate.cutStreams('held')
    const browser = await openBrowser()
    onTestFinished(() => browser.close())
    const page = await browser.open(gate.url)
    const told = page.getByRole('navigation').getByRole('status').getByText('not live')
    await told.waitFor()
    gate.letStreamsThrough()
    await expect.poll(() => told.count(), { timeout: 60_000 }).toBe(0)
    expect(page.complaints.filter((one) => !one.includes('net::'))).toEqual([])
  },
)
