import { pino } from 'pino'

/** Where log lines go, and their end: it waits until all are written, cannot fail, and does not take long. */
export type LogSink = { stream: ReturnType<typeof pino.destination>; end(): Promise<void> }

const LAST_LINES_MS = 500

/**
 * Lines are written beside the work, none of them while anything waits. Left to itself this kind of stream writes its last
 * lines in one go when the process exits, and tries for ever if nobody reads them any more: a process whose reader has died
 * would never end. So who ends a process waits for `end`, and who ends it at once loses the last lines.
 */
export function createLogSink(
  options: { minLength?: number; periodicFlush?: number; maxLength?: number } = {},
): LogSink {
  const stream = pino.destination({ ...options, sync: false })
  stream.flushSync = () => undefined
  return {
    stream,
    end: () =>
      new Promise((resolve) => {
        setTimeout(resolve, LAST_LINES_MS)
        stream.once('close', () => resolve())
        stream.end()
      }),
  }
}
