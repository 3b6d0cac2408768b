/** As undici gives them. */
export type ResponseHeaders = Readonly<Record<string, string | string[] | undefined>>

/** Longer than that nobody is left in peace, whatever they ask. */
const MAX_RETRY_AFTER_MS = 24 * 60 * 60 * 1000

/** Milliseconds to wait, from `Retry-After` as seconds or as a date, read by the clock of whoever wrote it. */
export function retryAfterOf(headers: ResponseHeaders): number | undefined {
  const value = only(headers['retry-after'])
  if (value === undefined) return undefined
  const written = httpDate(only(headers.date)) || Date.now()
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : httpDate(value) - written
  return Number.isNaN(ms) ? undefined : Math.max(0, Math.min(ms, MAX_RETRY_AFTER_MS))
}

export function only(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header
}

/** NaN for anything but the one form that may be sent: `Sun, 06 Nov 1994 08:49:37 GMT`. */
function httpDate(text = ''): number {
  return /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/.test(text) ? Date.parse(text) : Number.NaN
}
