import { type RefObject, useEffect, useState } from 'react'

/** Rows drawn beyond those that are seen, so that none is missing while it scrolls. */
const MARGIN = 8
const REST_MS = 150

/**
 * Which of many rows are drawn. All are of one height, so it is arithmetic: with a hundred thousand of them it costs what it
 * does with a hundred.
 */
export function useSight(
  box: RefObject<HTMLElement | null>,
  { count, rowPx, onRest }: { count: number; rowPx: number; onRest: (first: number, last: number) => void },
): { from: number; to: number } {
  const [first, setFirst] = useState(0)
  const [seen, setSeen] = useState(0)
  useEffect(() => {
    const element = box.current
    if (element === null) return
    const look = () => {
      setFirst(Math.floor(element.scrollTop / rowPx))
      setSeen(Math.ceil(element.clientHeight / rowPx))
    }
    const resized = new ResizeObserver(look)
    resized.observe(element)
    element.addEventListener('scroll', look, { passive: true })
    return () => {
      resized.disconnect()
      element.removeEventListener('scroll', look)
    }
  }, [box, rowPx])
  useEffect(() => {
    const timer = setTimeout(() => onRest(first, first + seen), REST_MS)
    return () => clearTimeout(timer)
  }, [first, seen, onRest])
  return { from: Math.max(0, first - MARGIN), to: Math.min(count, first + seen + MARGIN) }
}
