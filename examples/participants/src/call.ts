import { StepFailed, StepRejected, StepUncertain } from '@backstitch/sdk'
import { z } from 'zod'

/** What of a handler's call a participant is told. */
type Call = {
  sagaId: string
  step: string
  direction: 'action' | 'compensation'
  attempt: number
  idempotencyKey: string
  input: unknown
  signal: AbortSignal
}

/**
 * One call to a participant from a handler, with the key that makes it safe to repeat. The three ways it can go wrong are told
 * apart, because the saga goes on differently after each: never happened, a definite no, or nobody knows.
 */
export async function callParticipant<Answer>(
  url: string,
  call: Call,
  Answer: z.ZodType<Answer>,
): Promise<Answer> {
  const { sagaId, step, direction, attempt, idempotencyKey, input, signal } = call
  const { pathname } = new URL(url)
  let response: Response
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'Idempotency-Key': idempotencyKey,
        'Saga-Id': sagaId,
        'Saga-Step': step,
        'Saga-Direction': direction,
        'Saga-Attempt': String(attempt),
      },
      body: JSON.stringify({ sagaId, step, direction, input }),
      signal,
    })
  } catch (error) {
    const neverLeft = error instanceof TypeError && codeOf(error.cause) === 'ECONNREFUSED'
    const message = `no answer from ${pathname}`
    throw neverLeft ? new StepFailed(message, { cause: error }) : new StepUncertain(message, { cause: error })
  }
  const text = await response.text().catch(() => '')
  if (response.ok) {
    const answer = Answer.safeParse(parse(text))
    if (answer.success) return answer.data
    throw new StepUncertain(`${pathname} answered ${response.status}, but not what was expected`)
  }
  const said = `${pathname} answered ${response.status}: ${detailOf(text)}`
  if (response.status === 429) throw new StepFailed(said)
  if (response.status >= 500 || response.status === 408) throw new StepUncertain(said)
  throw new StepRejected(said, { code: `HTTP_${response.status}` })
}

/** The sentence in a problem (RFC 9457). */
function detailOf(text: string): string {
  const problem = z.object({ detail: z.string() }).safeParse(parse(text))
  return problem.success ? problem.data.detail : text.slice(0, 200)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function codeOf(cause: unknown): unknown {
  return typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined
}
