import { useSyncExternalStore } from 'react'

/** One clock for the whole page, a tick a second while anybody looks at it. */
let now = Date.now()
const listeners = new Set<() => void>()
let timer: ReturnType<typeof setInterval> | undefined

function subscribe(listener: () => void): () => void {
  listeners.add(listener)
  timer ??= setInterval(() => {
    now = Date.now()
    for (const one of listeners) one()
  }, 1_000)
  return () => {
    listeners.delete(listener)
    if (listeners.size > 0) return
    clearInterval(timer)
    timer = undefined
  }
}

export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now)
}

/** "4 min ago", "in 30 s"; the instant itself on hovering. */
export function Ago({ at, className = '' }: { at: string | null | undefined; className?: string }) {
  const current = useNow()
  if (at === null || at === undefined) return <span className="text-faint">–</span>
  const ms = Date.parse(at) - current
  return (
    <time dateTime={at} title={instant(at)} className={`whitespace-nowrap ${className}`}>
      {Math.abs(ms) < 1_500 ? 'now' : ms > 0 ? `in ${span(ms)}` : `${span(-ms)} ago`}
    </time>
  )
}

/** Made once: it is dearer than a row of a list. */
const INSTANT = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })

export function instant(at: string): string {
  return INSTANT.format(new Date(at))
}

/** 850 ms · 4.2 s · 12 min · 3 h 20 min · 5 d */
export function span(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`
  const seconds = ms / 1_000
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 60) return `${Math.round(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return minutes < 10 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
  return `${Math.floor(hours / 24)} d`
}
