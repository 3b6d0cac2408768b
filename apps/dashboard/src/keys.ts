import { useEffect, useRef } from 'react'

/** Keys that do something: a letter, or two after one another ("g s"). Nothing is done while somebody writes. */
export type Keys = Readonly<Record<string, () => void>>

const PAIR_MS = 900
let pending: { key: string; at: number } | undefined
/** The page below a dialog does not listen. */
const isWriting = (target: EventTarget | null) =>
  target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))

export function useKeys(keys: Keys): void {
  const current = useRef(keys)
  current.current = keys
  useEffect(() => {
    function onKey(event: KeyboardEvent): void {
      if (event.defaultPrevented || event.altKey) return
      const withCommand = event.metaKey || event.ctrlKey
      const name = withCommand ? `mod+${event.key.toLowerCase()}` : event.key
      if (!withCommand && isWriting(event.target)) return
      if (!withCommand && document.querySelector('[role="dialog"]') !== null) return
      const pair =
        pending !== undefined && event.timeStamp - pending.at < PAIR_MS ? `${pending.key} ${name}` : ''
      const act = current.current[pair] ?? current.current[name]
      if (act === undefined) return
      event.preventDefault()
      pending = undefined
      act()
    }
    document.addEventListener('keydown', onKey)
    return () => document.removeEventListener('keydown', onKey)
  }, [])
}

/** Remembers the first of two. Once for the whole page, after everybody else has looked. */
export function usePairs(): void {
  useEffect(() => {
    function onKey(event: KeyboardEvent): void {
      if (event.defaultPrevented || isWriting(event.target) || event.metaKey || event.ctrlKey) return
      pending = event.key === 'g' ? { key: 'g', at: event.timeStamp } : undefined
    }
    window.addEventListener('keydown', onKey)
    return () => window.removeEventListener('keydown', onKey)
  }, [])
}
