import { byteLength, checkJson, failureOf, type Handler, MAX_VALUE_BYTES } from '@backstitch/core'
import type { AttemptEnd, AttemptRequest } from './attempt.ts'
import { startTimer } from './timer.ts'

/**
 * Runs a TypeScript handler. Never rejects. After the time-out the attempt has ended, whatever the handler still does: what
 * it returns then is told to `onLate` and applied to nothing (S4). `abort` fires the request's signal.
 */
export function runHandler(
  handler: Handler,
  request: AttemptRequest,
  { abort, onLate, onLeft }: HandlerWatch,
): Promise<AttemptEnd> {
  const running = call(handler, request)
  return new Promise((resolve) => {
    const { signal, timeoutMs } = request
    let over = false
    const stop = (code: string, message: string) => {
      over = true
      stopTimer()
      signal.removeEventListener('abort', onAbort)
      onLeft(running)
      resolve({ outcome: 'uncertain', error: { code, message } })
    }
    const onAbort = () => stop('ABORTED', 'the attempt was aborted')
    const stopTimer = startTimer(timeoutMs, () => {
      stop('TIMEOUT', `the handler had not returned after ${timeoutMs} ms`)
      abort()
    })
    signal.addEventListener('abort', onAbort)
    void running.then((result) => {
      if (over) return onLate(result)
      stopTimer()
      signal.removeEventListener('abort', onAbort)
      resolve(result)
    })
  })
}

export type HandlerWatch = {
  abort(): void
  onLate(end: AttemptEnd): void
  /** The attempt is over and the handler still runs: until `running` resolves. */
  onLeft(running: Promise<unknown>): void
}

async function call(handler: Handler, request: AttemptRequest): Promise<AttemptEnd> {
  try {
    return accept(await handler(request))
  } catch (thrown) {
    return failureOf(thrown)
  }
}

/** The handler has done its work by now: a result that cannot be kept leaves the step uncertain, not undone. */
function accept(returned: unknown): AttemptEnd {
  const checked = checkJson(returned)
  if (!checked.ok) {
    const { pointer, detail } = checked.problem
    const message = `the handler's result cannot be stored: at "${pointer}": ${detail}`
    return { outcome: 'uncertain', error: { code: 'RESULT_NOT_SERIALIZABLE', message } }
  }
  const resultBytes = byteLength(JSON.stringify(checked.value))
  if (resultBytes > MAX_VALUE_BYTES) {
    const message = `the handler's result has ${resultBytes} bytes as JSON; the most is ${MAX_VALUE_BYTES}`
    return { outcome: 'uncertain', error: { code: 'RESULT_TOO_LARGE', message } }
  }
  return { outcome: 'succeeded', result: checked.value, resultBytes }
}
