import type { Direction, Fault } from './faults.ts'

/** What the ledger and the clients write down, a line each. Nobody else writes in these files. */

export type CallId = {
  /** 0: by hand. */
  call: number
  sagaId: string
  step: string
  direction: Direction
  attempt: number
  key: string
  label: number
}

export type LedgerLine =
  /** `told`, of an undo: whether the caller knows what is to be given back. */
  | ({ phase: 'received'; fault: Fault; told?: boolean } & CallId)
  /** `effect`: 1 done, -1 undone, 0 there was nothing to undo. */
  | ({ phase: 'applied'; effect: 1 | 0 | -1; amount: number } & CallId)
  | ({ phase: 'responded'; status: number } & CallId)

/** Milliseconds since the run began. `unknown`: no answer that says what has happened. */
export type ClientLine = { askedAt: number; answeredAt: number } & (
  | {
      what: 'start'
      label: number
      definition: string
      by: 'sagaKey' | 'Idempotency-Key'
      key: string
      /** The same key with another input: never to be acknowledged. */
      twisted?: true
      answer: 'acknowledged' | 'conflict' | 'unknown'
      sagaId?: string
    }
  | {
      what: 'cancel'
      sagaId: string
      answer: 'accepted' | 'ended' | 'pastPivot' | 'unknown'
      status?: string
    }
  | { what: 'verb'; verb: string; edited?: true; sagaId: string; answer: 'accepted' | 'refused' | 'unknown' }
  | { what: 'signal'; sagaId: string }
  | { what: 'seen'; sagaId: string; version: number; status: string }
)
