/** A change of a few words of the code under test, which itself knows nothing of it. They must stand in the file exactly once. */
export type Patch = { file: string; find: string; replace: string }

/** A mistake somebody might make, and the kind of process in which it shows. */
export type Bug = { in: readonly ('worker' | 'api')[]; patches: readonly Patch[] }

const COMMITS = 'packages/store/src/commits.ts'
const STARTS = 'packages/store/src/starts.ts'
const DECIDE = 'packages/core/src/decide.ts'
const COURSE = 'packages/core/src/course.ts'
const CLAIM_LOOP = 'packages/engine/src/claim-loop.ts'
const WORKERS = 'packages/store/src/workers.ts'
const LANE = 'packages/store/src/lane.ts'

const SUBMIT_START = 'const { answer, lease } = await gatherer.submit(row)'
const CLAIM = 'const claimed = await claims.claim(inTurn(), limit, turnsAt(limit))'
const FENCE = 'AND s.epoch = i.epoch AND s.version = i.version AND s.ended_at IS NULL'

function worker(...patches: Patch[]): Bug {
  return { in: ['worker'], patches }
}

function api(...patches: Patch[]): Bug {
  return { in: ['api'], patches }
}

export const bugs = {
  noEpochInAResultWrite: worker({
    file: COMMITS,
    find: FENCE,
    // The version alone would still tell the two holders apart.
    replace: 'AND s.ended_at IS NULL',
  }),
  noVersionInAResultWrite: worker({
    file: COMMITS,
    find: FENCE,
    replace: 'AND s.epoch = i.epoch AND s.ended_at IS NULL',
  }),
  endsOverUnreadMail: worker({
    file: COMMITS,
    find: 'AND (NOT i.gated OR s.mail_seq = i.mail_seen)',
    replace: '',
  }),
  commitsThatAreNotDurable: {
    in: ['worker', 'api'],
    patches: [{ file: LANE, find: "'jit = off',", replace: "'jit = off', 'synchronous_commit = off'," }],
  },
  attemptsThatAreNotCounted: worker({
    file: DECIDE,
    find: '{ attempt: failed.attempt + 1, dueAt }',
    replace: '{ attempt: failed.attempt, dueAt }',
  }),
  oneAttemptTooMany: worker({
    file: DECIDE,
    find: 'attempt >= maxAttempts\n',
    replace: 'attempt > maxAttempts\n',
  }),
  aNoIsTriedAgain: worker({
    file: DECIDE,
    find: "event.outcome === 'rejected' || attempt",
    replace: 'attempt',
  }),
  undoneAfterThePivot: worker({
    file: DECIDE,
    find: "if (mid.pivot === 'completed' || mid.status === 'stuck')",
    replace: "if (mid.status === 'stuck')",
  }),
  aNewKeyForEachAttempt: worker({
    file: 'packages/engine/src/attempt/request.ts',
    find: 'id: AttemptId): string {\n  return `${sagaId}:',
    replace: 'id: AttemptId): string {\n  return `${id.attempt}:${sagaId}:',
  }),
  undoneInForwardOrder: worker({
    file: 'packages/core/src/compensation.ts',
    find: 'state.completedSteps.toReversed()',
    replace: '[...state.completedSteps]',
  }),
  undoneWhileItRuns: worker({
    file: COURSE,
    find: "...stepsWaitingFor(before, 'saga'), ...(given.underWay ?? [])",
    replace: "...stepsWaitingFor(before, 'saga')",
  }),
  aFailedUndoCountsAsDone: worker({
    file: 'packages/engine/src/events.ts',
    find: 'export function eventOf(id: AttemptId, end: AttemptEnd): Event {',
    replace: `export function eventOf(id: AttemptId, told: AttemptEnd): Event {
      const done = { outcome: 'succeeded', result: null, resultBytes: 4 }
      const end = id.direction === 'compensation' && 'error' in told ? done : told`,
  }),
  anErrorTakenForANo: worker({
    file: 'packages/engine/src/attempt/http-answer.ts',
    find: "if (status === 408 || status >= 500) return 'uncertain'",
    replace: "if (status === 408 || status >= 500) return 'failed'",
  }),
  resultsForgotten: worker({
    file: 'packages/core/src/history.ts',
    find: 'state.context = { ...state.context, [step]: result }',
    replace: 'state.context = { ...state.context, [step]: null }',
  }),
  aStepBeforeTheOneBeforeItIsDone: worker({
    file: COURSE,
    find: 'for (const step of groups[at]?.members ?? []) {',
    replace: 'for (const step of [groups[at], groups[at + 1]].flatMap((group) => group?.members ?? [])) {',
  }),
  undoingTurnsForwardAgain: worker({
    file: 'packages/core/src/agenda.ts',
    find: "return state.status === 'compensating' ? 'compensation' : 'action'",
    replace:
      "return state.status === 'compensating' && state.compensatedSteps.length === 0 ? 'compensation' : 'action'",
  }),
  theHttpClientRetriesByItself: worker({
    file: 'packages/engine/src/attempt/participants.ts',
    find: 'answered(end)\n',
    replace: `answered(end)
      const again = { ...request, signal: new AbortController().signal }
      if (end.outcome === 'uncertain')
        setTimeout(() => void service.caller.call(call, again, { identity: service.identity }), 300)
    `,
  }),
  redirectsAreFollowed: worker({
    file: 'packages/engine/src/attempt/http.ts',
    find: 'this.options.onStatus?.(status)',
    replace: `this.options.onStatus?.(status)
      if (status === 302) fetch(String(headers.location), { method: 'POST' }).catch(() => undefined)`,
  }),
  nobodySweeps: worker({
    file: WORKERS,
    find: 'WHERE s.owner IS NOT NULL\n    AND NOT EXISTS',
    replace: 'WHERE false\n    AND NOT EXISTS',
  }),
  aTimerReopensWhatHasEnded: worker({
    file: WORKERS,
    find: 'WITH lost AS (\n  SELECT s.bucket, s.saga_id FROM sagas s\n  WHERE s.owner IS NOT NULL',
    replace: `WITH reopened AS (
      UPDATE sagas SET status = 'compensating', ended_at = NULL, due_at = now(),
        state = state || '{"status": "compensating", "attempts": {"s1": 1}}'
      WHERE status = 'completed' AND ended_at < now() - interval '500 milliseconds' RETURNING 1
    ), lost AS (\n  SELECT s.bucket, s.saga_id FROM sagas s\n  WHERE s.owner IS NOT NULL`,
  }),
  noPollAndNotificationsLost: worker(
    {
      file: CLAIM_LOOP,
      find: 'if (!stopped && !woken && waitMs > 0) await sleep(waitMs)',
      replace: 'if (!stopped && !woken) await sleep(3_600_000)',
    },
    { file: CLAIM_LOOP, find: 'if (ms < pollMs) setTimeout', replace: 'if (ms < 0) setTimeout' },
    { file: WORKERS, find: "hints[channel]?.((payload ?? '').split(','))", replace: 'undefined' },
  ),
  eventsThatDoNotLeaveWithTheirCommit: worker({
    file: 'packages/store/src/outbox.ts',
    find: 'IS NOT NULL HAVING',
    replace: 'IS NOT NULL AND random() < 0.7 HAVING',
  }),
  publishedInNoOrder: {
    in: ['worker', 'api'],
    patches: [
      {
        file: 'packages/store/src/feed.ts',
        find: 'WHERE last_position IS NULL ORDER BY at LIMIT',
        replace: 'WHERE last_position IS NULL ORDER BY batch_id LIMIT',
      },
    ],
  },
  releasedForAnHour: worker({
    file: COMMITS,
    find: "ELSE now() + i.delay_ms * interval '1 millisecond' END",
    replace: "ELSE now() + interval '1 hour' END",
  }),
  acknowledgedBeforeTheCommit: api({
    file: STARTS,
    find: SUBMIT_START,
    replace: `gatherer.submit(row).catch(() => undefined)
      const [answer, lease] = [{ is: 'started', sagaId: row.sagaId, state: row.state }]`,
  }),
  startKeysIgnored: api({
    file: STARTS,
    find: 'return `saga:${definition.name}:${sagaKey}`',
    replace: 'return `saga:${definition.name}:${sagaKey}:${Math.random()}`',
  }),
  conflictsUnnoticed: api({
    file: STARTS,
    find: "hash === requestHash ? 'repeated' : 'conflict'",
    replace: "'repeated'",
  }),
} satisfies Record<string, Bug>

const at = (point: string) => `globalThis.chaosPoint('${point}')`

/** Where a process may die: each is a call put before or after what the point is named for. */
export const crashPoints: Readonly<Record<string, Bug>> = {
  'before commit': worker(groupCommit(`${at('before commit')};`, '')),
  'after commit': worker(groupCommit('', `${at('after commit')};`)),
  'before claim': worker(before(CLAIM_LOOP, CLAIM, 'before claim')),
  'after claim': worker(after(CLAIM_LOOP, CLAIM, 'after claim')),
  'before send': worker(
    before('packages/engine/src/attempt/http.ts', 'agent.dispatch(prepared, this)', 'before send'),
  ),
  'after send': worker(
    after('packages/engine/src/attempt/http.ts', 'this.controller = controller', 'after send', true),
  ),
  'before receive': worker(
    before('packages/engine/src/attempt/http.ts', 'this.options.onStatus?.(status)', 'before receive'),
  ),
  'after receive': worker(
    before('packages/engine/src/attempt/participants.ts', 'answered(end)\n', 'after receive'),
  ),
  'before release': worker(
    before('packages/engine/src/runner.ts', 'await parts.release(saga.lease, Math', 'before release'),
  ),
  'after release': worker(
    after(
      'packages/engine/src/runner.ts',
      'await parts.release(saga.lease, Math.max(0, Math.min(at - now, ...again)), mailOf(saga))',
      'after release',
    ),
  ),
  'before stuck': worker({
    file: 'packages/engine/src/runner.ts',
    find: 'const answer = await commit.submit(',
    replace: `if (state.status === 'stuck') ${at('before stuck')}; const answer = await commit.submit(`,
  }),
  'after stuck': worker(
    before(
      'packages/engine/src/runner.ts',
      'log.error(\n        { sagaId, definition: state.definition.name, stuck',
      'after stuck',
    ),
  ),
  'before start': api(before(STARTS, SUBMIT_START, 'before start')),
  'after start': api(after(STARTS, SUBMIT_START, 'after start')),
  'before cancel': api(
    before(
      'apps/api/src/routes/verbs.ts',
      'const posted = await store().mailbox.post(sagaId, letter, when)',
      'before cancel',
    ),
  ),
  'after cancel': api(
    after(
      'apps/api/src/routes/verbs.ts',
      'const posted = await store().mailbox.post(sagaId, letter, when)',
      'after cancel',
    ),
  ),
}

function before(file: string, find: string, point: string): Patch {
  return { file, find, replace: `${at(point)}; ${find}` }
}

/** `soon`: not now, but before anything that comes from outside. */
function after(file: string, find: string, point: string, soon = false): Patch {
  return { file, find, replace: soon ? `${find}; setImmediate(() => ${at(point)})` : `${find}; ${at(point)}` }
}

function groupCommit(first: string, then: string): Patch {
  return {
    file: 'packages/engine/src/group-commit.ts',
    find: 'flush: (transitions, lane) => commits.commit(transitions, lane),',
    replace: `flush: async (transitions, lane) => {
      ${first}
      const answers = await commits.commit(transitions, lane)
      ${then}
      return answers
    },`,
  }
}

export function patchesNamed(name: string): readonly Patch[] {
  const found = { ...crashPoints, ...bugs }[name]
  if (found === undefined) throw new Error(`there is neither a bug nor a crash point "${name}"`)
  return found.patches
}
