/** The same clock in every process of this machine, in milliseconds. */
export function now(): number {
  return performance.timeOrigin + performance.now()
}
