import { pino } from 'pino'

/** Where log lines go, and their end: it waits until all are written, cannot fail, and does not take long. */
export type LogSink = { stream: { write(line: string): void }; end(): Promise<void> }

const LAST_LINES_MS = 500

/**
 * Lines are written beside the work, none of them while anything waits. Left to itself this kind of stream writes its last
 * lines in one go when the process exits, and tries for ever if nobody reads them any more: a process whose reader has died
 * would never end. So who ends a process waits for `end`, and who ends it at once loses the last lines.
 *
 * Lines are gathered here and not there: it would count the bytes of all that waits again with each line.
 */
export function createLogSink({
  minLength = 0,
  periodicFlush,
  maxLength,
}: {
  minLength?: number
  periodicFlush?: number
  maxLength?: number
} = {}): LogSink {
  const destination = pino.destination({ ...(maxLength !== undefined && { maxLength }), sync: false })
  destination.flushSync = () => undefined
  const flushing = periodicFlush === undefined ? undefined : setInterval(flush, periodicFlush).unref()
  let lines = ''

  function flush(): void {
    if (lines === '') return
    destination.write(lines)
    lines = ''
  }

  return {
    stream: {
      write(line) {
        lines += line
        if (lines.length >= minLength) flush()
      },
    },
    end: () =>
      new Promise((resolve) => {
        clearInterval(flushing)
        flush()
        setTimeout(resolve, LAST_LINES_MS)
        destination.once('close', () => resolve())
        destination.end()
      }),
  }
}
