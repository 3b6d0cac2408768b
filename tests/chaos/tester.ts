import { CALM, type Mix } from './faults.ts'
import { definitionsOf, type Habits } from './generator.ts'
import { nemesesNamed } from './nemeses.ts'
import { bugs } from './patches.ts'
import { run } from './run.ts'
import type { Server } from './server.ts'

/** Who tests the tester: mistakes are put into the code, one at a time, and each must be caught. */

type Circumstances = {
  mix?: Mix
  nemeses?: readonly string[]
  habits?: Partial<Habits>
  seconds?: number
  together?: number
  pivots?: number
}

/** Under which each mistake shows. */
const circumstances: Record<keyof typeof bugs, Circumstances> = {
  noEpochInAResultWrite: { nemeses: ['stall'], mix: actions({ drip: 80 }), seconds: 15, together: 100 },
  noVersionInAResultWrite: { nemeses: ['loseAnswer'], seconds: 4 },
  endsOverUnreadMail: { habits: { cancels: 1, cancelsWithinMs: 150 } },
  commitsThatAreNotDurable: { nemeses: ['restart'], seconds: 4 },
  attemptsThatAreNotCounted: { mix: actions({ errorBefore: 20 }) },
  oneAttemptTooMany: { mix: actions({ errorBefore: 35 }) },
  aNoIsTriedAgain: { mix: actions({ refuse: 15 }) },
  undoneAfterThePivot: { mix: actions({ refuse: 15 }), pivots: 1 },
  aNewKeyForEachAttempt: { mix: actions({ errorAfter: 30 }) },
  undoneInForwardOrder: { mix: actions({ refuse: 25 }) },
  undoneWhileItRuns: { mix: actions({ drip: 60 }), habits: { cancels: 1, cancelsWithinMs: 500 } },
  aFailedUndoCountsAsDone: { mix: { action: { refuse: 15 }, compensation: { refuse: 30 } } },
  anErrorTakenForANo: { mix: actions({ errorAfter: 70 }) },
  resultsForgotten: { mix: actions({ refuse: 15 }) },
  aStepBeforeTheOneBeforeItIsDone: { mix: actions({ errorBefore: 20 }) },
  undoingTurnsForwardAgain: { mix: actions({ refuse: 25 }) },
  theHttpClientRetriesByItself: { mix: actions({ errorAfter: 30 }) },
  redirectsAreFollowed: { mix: actions({ redirect: 15 }) },
  nobodySweeps: { nemeses: ['kill'] },
  aTimerReopensWhatHasEnded: { seconds: 4 },
  noPollAndNotificationsLost: {},
  eventsThatDoNotLeaveWithTheirCommit: {},
  publishedInNoOrder: {},
  releasedForAnHour: { mix: actions({ drip: 80 }) },
  acknowledgedBeforeTheCommit: { habits: { repeats: 1 } },
  startKeysIgnored: { habits: { repeats: 1 } },
  conflictsUnnoticed: { habits: { twists: 1 } },
}

/** How many things each invariant found wrong, where it found any. */
export type Caught = { by: Readonly<Record<string, number>>; example: string | undefined }

export const bugNames = Object.keys(bugs) as (keyof typeof bugs)[]

export async function tryBug(
  bug: keyof typeof bugs,
  server: Server,
  seed: number,
  folder: string,
): Promise<Caught> {
  const { mix = CALM, nemeses = [], habits, seconds = 3, together = 30, pivots } = circumstances[bug]
  const { wrong } = await run({
    seed,
    server,
    folder,
    definitions: definitionsOf(seed, pivots === undefined ? {} : { pivots }),
    mix,
    nemeses: nemesesNamed(nemeses),
    seconds,
    atLeast: 100,
    together,
    pauseMs: 100,
    restSeconds: 4,
    // A second one is needed only where the first is to be succeeded.
    workers: nemeses.length === 0 ? 1 : 2,
    ...(habits !== undefined && { habits }),
    environment: Object.fromEntries(bugs[bug].in.map((kind) => [kind, { CHAOS_PATCH: bug }])),
  })
  const found = Object.entries(wrong).filter(([, some]) => some.length > 0)
  return {
    by: Object.fromEntries(found.map(([name, some]) => [name, some.length])),
    example: found[0]?.[1][0],
  }
}

function actions(faults: Mix['action']): Mix {
  return { action: faults, compensation: {} }
}
