import type { AttemptEnd } from './attempt.ts'

/** May an attempt be made here and now? Asked before anything of it is done. */
export type Admission =
  | { is: 'now'; permit: Permit }
  /** Not yet: its service is not to be called at the moment (S37). No attempt is used up. */
  | { is: 'later'; delayMs: number }
  /** This worker lacks what it takes (S20). `delayMs` asks when the saga is to be offered again. */
  | { is: 'notHere'; delayMs: () => Promise<number> }

/** The right to make one attempt. `done` gives it back, and must be called whatever becomes of it. */
export type Permit = {
  /** Waits for its turn. False: it is not to be made after all, and another admission must be asked for. */
  turn(signal: AbortSignal): Promise<boolean>
  /** `end` is how the service's answer ended the attempt; absent if the service was never asked. */
  done(end?: AttemptEnd): void
}

/** For what nothing limits. */
export const FREE: Permit = { turn: () => Promise.resolve(true), done: () => undefined }
