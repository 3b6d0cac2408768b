import { byteLength, checkJson, failureOf, type Handler, MAX_VALUE_BYTES } from '@backstitch/core'
import type { AttemptEnd, AttemptRequest } from './attempt.ts'
import { startTimer } from './timer.ts'

/**
 * Runs a TypeScript handler. Never throws. After the time-out the attempt has ended, whatever the handler still does: what
 * it returns then is told to `onLate` and applied to nothing (S4); `abort` fires its signal. `settled` resolves when the handler itself has ended.
 */
export function runHandler(
  handler: Handler,
  request: AttemptRequest,
  abort: () => void,
  onLate: (end: AttemptEnd) => void,
): { end: Promise<AttemptEnd>; settled: Promise<unknown> } {
  const running = call(handler, request)
  const end = new Promise<AttemptEnd>((resolve) => {
    let over = false
    const stop = (code: string, message: string) => {
      if (over) return
      over = true
      stopTimer()
      resolve({ outcome: 'uncertain', error: { code, message } })
    }
    const stopTimer = startTimer(request.timeoutMs, () => {
      stop('TIMEOUT', `the handler had not returned after ${request.timeoutMs} ms`)
      abort()
    })
    const onAbort = () => stop('ABORTED', 'the attempt was aborted')
    request.signal.addEventListener('abort', onAbort, { once: true })
    void running.then((result) => {
      stopTimer()
      request.signal.removeEventListener('abort', onAbort)
      if (over) onLate(result)
      else resolve(result)
    })
  })
  return { end, settled: running }
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
