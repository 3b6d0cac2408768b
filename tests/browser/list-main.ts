import { type Opened, openBrowser, whyNoBrowser } from './stage.ts'
import { openStandIn } from './stand-in.ts'

/**
 * How the list of sagas scrolls: `node tests/browser/list-main.ts [rows]`. Frames at the wheel with few rows and with many, what
 * each page costs, and what "n new" does. Figures of one machine; the counts that hold on any are in list.test.ts.
 */

const WATCH = `
  window.seen = { frames: [], long: [] }
  new PerformanceObserver((list) => { for (const one of list.getEntries()) window.seen.long.push(one.duration) }).observe({ type: 'longtask' })
  let before = performance.now()
  const look = (now) => { window.seen.frames.push(now - before); before = now; requestAnimationFrame(look) }
  requestAnimationFrame(look)`
const LOADED = `Number([...document.querySelectorAll('main span')].find((one) => / shown, /.test(one.textContent)).textContent.replaceAll(/\\D/g, ''))`

type Seen = { frames: number[]; long: number[] }

const TAKE = `(() => { const was = window.seen; window.seen = { frames: [], long: [] }; return was })()`

/** Milliseconds from frame to frame, and tasks of more than 50 ms. */
function told(what: string, { frames, long }: Seen): void {
  const sorted = frames.toSorted((one, other) => one - other)
  const at = (part: number) =>
    String(Math.round(sorted[Math.ceil(sorted.length * part) - 1] ?? 0)).padStart(4)
  const longest = Math.round(Math.max(0, ...long))
  process.stdout.write(
    `${what.padEnd(34)} frames ${String(frames.length).padStart(5)}  p50 ${at(0.5)}  p95 ${at(0.95)}  p99 ${at(0.99)}  longest ${at(1)}  tasks over 50 ms ${long.length}, longest ${longest}\n`,
  )
}

async function main(rows: number): Promise<void> {
  const api = await openStandIn(rows)
  const browser = await openBrowser()
  const page = await browser.open(`${api.url}/sagas`)
  page.setDefaultTimeout(120_000)
  const devtools = await page.context().newCDPSession(page)
  const loaded = () => page.evaluate<number>(LOADED)

  async function held(what: string): Promise<void> {
    await devtools.send('HeapProfiler.collectGarbage')
    const { metrics } = await devtools.send('Performance.getMetrics')
    const of = (name: string) => metrics.find((one) => one.name === name)?.value ?? 0
    const nodes = await page.evaluate<number>(`document.querySelectorAll('*').length`)
    process.stdout.write(
      `${what.padEnd(34)} heap ${(of('JSHeapUsedSize') / 1e6).toFixed(1)} MB, ${nodes} elements\n`,
    )
  }

  /** A turn of the wheel every 30 ms or so, there and back. */
  async function turn(times: number): Promise<void> {
    for (let n = 0; n < times; n++) {
      await page.mouse.wheel(0, n % 40 < 20 ? -400 : 400)
      await page.waitForTimeout(25)
    }
  }

  await devtools.send('Performance.enable')
  await page.evaluate(WATCH)
  await page.getByText(/shown/).waitFor()
  await page.mouse.move(700, 500)
  await page.mouse.wheel(0, 20_000)
  await page.waitForTimeout(1_000)
  await page.evaluate(TAKE)
  await turn(120)
  told('the wheel, few rows loaded', await page.evaluate<Seen>(TAKE))
  await held('few rows loaded')

  /** Seconds of the page's own thread since it was opened: they depend less than frames on what else the machine does. */
  async function worked(): Promise<{ script: number; drawing: number }> {
    const { metrics } = await devtools.send('Performance.getMetrics')
    const of = (name: string) => metrics.find((one) => one.name === name)?.value ?? 0
    return { script: of('ScriptDuration'), drawing: of('LayoutDuration') + of('RecalcStyleDuration') }
  }

  const marks = [0.05, 0.95, 1].map((part) => Math.floor(rows * part))
  const begun = performance.now()
  for (const [place, mark] of marks.entries()) {
    const before = { ...(await worked()), rows: await loaded() }
    while ((await loaded()) < mark) {
      await page.mouse.wheel(0, 6_000)
      await page.waitForTimeout(15)
    }
    const seen = await page.evaluate<Seen>(TAKE)
    told(
      place === 0 ? 'loading, the first 5 %' : place === 1 ? 'loading, up to 95 %' : 'loading, the last 5 %',
      seen,
    )
    const after = await worked()
    const pages = ((await loaded()) - before.rows) / 100
    const each = (of: 'script' | 'drawing') => (((after[of] - before[of]) * 1_000) / pages).toFixed(1)
    process.stdout.write(
      `${' '.repeat(35)}a page: script ${each('script')} ms, style and layout ${each('drawing')} ms\n`,
    )
  }
  process.stdout.write(`all ${rows} loaded in ${((performance.now() - begun) / 1_000).toFixed(1)} s\n`)
  await page.waitForTimeout(2_000)
  await page.evaluate(TAKE)
  await turn(120)
  told('the wheel, all rows loaded', await page.evaluate<Seen>(TAKE))
  await held('all rows loaded')

  await page.waitForTimeout(8_000)
  told('at rest, all rows loaded, 8 s', await page.evaluate<Seen>(TAKE))
  for (let n = 0; n < 30; n++) {
    await page.keyboard.press(n < 15 ? 'j' : 'k')
    await page.waitForTimeout(25)
  }
  told('j and k, all rows loaded', await page.evaluate<Seen>(TAKE))
  api.start(12)
  await page.getByRole('button', { name: '12 new' }).waitFor()
  told('12 new come', await page.evaluate<Seen>(TAKE))
  const asked = api.asked.length
  await page.getByRole('button', { name: '12 new' }).click()
  await page.getByText(`order-${rows + 11}`, { exact: true }).waitFor()
  told('and are let in', await page.evaluate<Seen>(TAKE))
  process.stdout.write(`requests for that: ${api.asked.length - asked}\n`)
  await beside(page, await browser.open(`${api.url}/sagas`), rows)
  await browser.close()
  api.close()
}

/** A turn of the wheel with many rows loaded and with few, by turns: whatever else the machine does, it does to both. */
async function beside(many: Opened, few: Opened, rows: number): Promise<void> {
  await few.getByText(/ shown, /).waitFor()
  await load(few, 1_000)
  await load(many, rows)
  for (let round = 0; round < 4; round++) {
    for (const [page, name] of [
      [few, 'few'],
      [many, 'many'],
    ] as const) {
      const devtools = await page.context().newCDPSession(page)
      await devtools.send('Performance.enable')
      const metrics = async () =>
        new Map((await devtools.send('Performance.getMetrics')).metrics.map((one) => [one.name, one.value]))
      await page.bringToFront()
      await page.mouse.move(700, 500)
      await page.waitForTimeout(600)
      const before = await metrics()
      for (let n = 0; n < TURNS; n++) {
        await page.mouse.wheel(0, n % 20 < 10 ? -1_500 : 1_500)
        await page.waitForTimeout(25)
      }
      const after = await metrics()
      await devtools.detach()
      const each = (of: string) =>
        ((((after.get(of) ?? 0) - (before.get(of) ?? 0)) * 1_000) / TURNS).toFixed(1)
      process.stdout.write(
        `a turn, ${name.padEnd(4)} loaded: script ${each('ScriptDuration')} ms, layout ${each('LayoutDuration')} ms, style ${each('RecalcStyleDuration')} ms, all ${each('TaskDuration')} ms\n`,
      )
    }
  }
}

const TURNS = 60

async function load(page: Opened, until: number): Promise<void> {
  const list = page.getByRole('list', { name: 'Sagas' })
  while ((await page.evaluate<number>(LOADED)) < until)
    await list.evaluate((box) => {
      box.scrollTop = box.scrollHeight
    })
}

const missing = whyNoBrowser()
if (missing !== undefined) throw new Error(missing)
await main(Number(process.argv[2] ?? 100_000))
