import { useEffect, useRef } from 'react'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'

export type Minute = { at: string; started: number; completed: number; failed: number; stuck: number }

const LINES = [
  { name: 'started', ink: '--running' },
  { name: 'completed', ink: '--completed' },
  { name: 'failed', ink: '--failed' },
  { name: 'stuck', ink: '--stuck' },
] as const

/** The last hour, a point a minute. */
export function Minutes({ minutes }: { minutes: readonly Minute[] }) {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>(undefined)
  const data: uPlot.AlignedData = [
    minutes.map(({ at }) => Date.parse(at) / 1_000),
    ...LINES.map(({ name }) => minutes.map((minute) => minute[name])),
  ]
  const latest = useRef(data)
  latest.current = data

  useEffect(() => {
    const element = box.current
    if (element === null) return
    const draw = () => {
      plot.current?.destroy()
      // A canvas knows no variables: each colour is read where it has become one.
      const of = (name: string) => {
        element.style.color = `var(${name})`
        return getComputedStyle(element).color
      }
      const axis = {
        stroke: of('--ink-faint'),
        grid: { stroke: of('--line'), width: 1 },
        ticks: { show: false },
      }
      plot.current = new uPlot(
        {
          width: element.clientWidth,
          height: 180,
          series: [
            {},
            ...LINES.map(({ name, ink }) => ({
              label: name,
              stroke: of(ink),
              width: 1.5,
              points: { show: false },
            })),
          ],
          axes: [axis, { ...axis, size: 46 }],
          cursor: { y: false },
          legend: { live: true },
        },
        latest.current,
        element,
      )
      element.style.color = ''
    }
    draw()
    const resized = new ResizeObserver(() =>
      plot.current?.setSize({ width: element.clientWidth, height: 180 }),
    )
    resized.observe(element)
    const themed = new MutationObserver(draw)
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] })
    const night = matchMedia('(prefers-color-scheme: dark)')
    night.addEventListener('change', draw)
    return () => {
      night.removeEventListener('change', draw)
      resized.disconnect()
      themed.disconnect()
      plot.current?.destroy()
      plot.current = undefined
    }
  }, [])
  useEffect(() => plot.current?.setData(data))

  return (
    <section className="sheet mt-6 px-3 pt-3 pb-1" aria-label="Sagas per minute in the last hour">
      <h2 className="px-1 text-[12px] text-faint">Per minute, the last hour</h2>
      <div ref={box} className="overflow-hidden" />
    </section>
  )
}
