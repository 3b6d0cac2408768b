/** Instants as this project writes them: RFC 3339, in UTC, to the millisecond. */

let latest = Number.NaN
let latestText = ''

/** @param ms milliseconds since 1970. Under load many sagas are decided within one: its text is written once. */
export function instantText(ms: number): string {
  if (ms !== latest) {
    latestText = new Date(ms).toISOString()
    latest = ms
  }
  return latestText
}
