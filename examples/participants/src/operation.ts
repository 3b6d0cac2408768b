import type { Answer, Happening } from './ledger.ts'

export type { Answer } from './ledger.ts'

/** One thing that a service does for a saga, or undoes. */
export type Operation<Input> = {
  service: string
  operation: string
  path: string
  direction: Happening['direction']
  /** How long the work takes before there is anything to decide. */
  takesMs?: (input: Input) => number
  /** Answers 202 at once, and tells by a callback how it ended, if the step waits for one. */
  callsBack?: true
  /** Signed with this secret, or refused. */
  signedWith?: string
  /** Done, and then the connection is lost instead of the answer. */
  losesAnswer?: (input: Input) => boolean
  /** Decides and answers; `id` is the new thing's. In one go, so that two sagas cannot both get the last piece. */
  decide: (input: Input, id: string) => Answer
}

export function ok(body: Answer['body']): Answer {
  return { status: 200, body }
}

/** A definite no, as problem JSON (RFC 9457). */
export function refusal(status: number, kind: string, detail: string): Answer {
  const title = kind.charAt(0).toUpperCase() + kind.slice(1).replaceAll('-', ' ')
  return { status, body: { type: `urn:problem:${kind}`, title, status, detail } }
}
