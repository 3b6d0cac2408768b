/** A longer time makes `setTimeout` fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** Calls back after any number of milliseconds, a year of them included. Answers how to call it off. */
export function startTimer(ms: number, onTime: () => void): () => void {
  let timer: NodeJS.Timeout
  const start = (left: number) => {
    timer = setTimeout(
      () => (left > MAX_TIMER_MS ? start(left - MAX_TIMER_MS) : onTime()),
      Math.min(left, MAX_TIMER_MS),
    )
  }
  start(ms)
  return () => clearTimeout(timer)
}
