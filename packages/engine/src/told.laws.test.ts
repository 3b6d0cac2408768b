import { apply, begin, type Entry, type SagaState, tellingsOf } from '@backstitch/core'
import { openApiStore, type PlacedEvent } from '@backstitch/store'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { createNetwork } from '../../store/src/testing-proxy.ts'
import { createStage, rejection, type Stage, sagaOf } from './testing.ts'

/** What is told, counted and noted is what has happened (M6): whoever publishes, and whoever dies of it. */

const by = { actor: 'ada', reason: 'because' }
const HOWS = ['completes', 'fails', 'sticks', 'sticksTwice', 'waits'] as const
const VERBS = ['retry', 'skip', 'markCompensated', 'pause', 'resume', 'runNow'] as const
/** Words of what a publisher says, one of which its connection is cut at. */
const WORDS = ['EXISTS (SELECT', 'FOR UPDATE SKIP', 'UPDATE events', 'saga_counts', 'saga_minutes', 'commit']

const which = fc.nat(1_000)
const commands = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('start' as const), how: fc.constantFrom(...HOWS) }) },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant('verb' as const), verb: fc.constantFrom(...VERBS), which }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constantFrom('cancel' as const, 'abandon' as const), which }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('bulk' as const), verb: fc.constantFrom(...VERBS) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('cut' as const), words: fc.constantFrom(...WORDS) }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('quiet' as const) }) },
  ),
  { minLength: 5, maxLength: 40, size: 'max' },
)

function troubled() {
  const undone = new Map<string, number>()
  return sagaOf('troubled', {
    reserve: {
      action: () => null,
      compensation: ({ sagaId, input }) => {
        const times = (undone.get(sagaId) ?? 0) + 1
        undone.set(sagaId, times)
        if (times <= (input === 'sticks' ? 1 : input === 'sticksTwice' ? 2 : 0)) throw rejection('not yet')
        return null
      },
    },
    wait: {
      action: () => null,
      options: { action: { type: 'delay', delayMs: 3_600_000 }, when: 'input == "waits"' },
    },
    pay: {
      action: ({ input }) => {
        if (input !== 'completes' && input !== 'waits') throw rejection('no')
        return null
      },
    },
  })
}

test('law: at every quiet moment the counts are a recount, and each transition has been told once, in its order', async () => {
  const stage = await createStage()
  const { saga, document } = troubled()
  const definition = await stage.register(document)
  for (let n = 0; n < 2; n++) await stage.worker({ sagas: [saga] })
  const network = await createNetwork(stage.url)
  const dying = await openApiStore({ databaseUrl: network.url })
  onTestFinished(async () => {
    await dying.close()
    await network.close()
  })
  const sagaIds: string[] = []

  async function act(command: typeof commands extends fc.Arbitrary<(infer C)[]> ? C : never): Promise<void> {
    const { mailbox, bulks } = stage.store
    const sagaId = 'which' in command ? sagaIds[command.which % Math.max(1, sagaIds.length)] : undefined
    switch (command.do) {
      case 'start':
        sagaIds.push(await stage.start(document, command.how))
        return
      case 'verb':
        // What is not possible is refused in the history, and that is told, too.
        if (sagaId !== undefined) await mailbox.post(sagaId, { kind: 'verb', verb: command.verb, ...by })
        return
      case 'cancel':
        if (sagaId !== undefined) await mailbox.post(sagaId, { kind: 'cancel', ...by })
        return
      case 'abandon':
        if (sagaId !== undefined) await mailbox.abandon(sagaId, by)
        return
      case 'bulk': {
        const wanted = { verb: command.verb, step: undefined, ...by, perSecond: 500, requestHash: '' }
        const { bulk } = await bulks.create({ ...wanted, which: { filter: { status: ['stuck'] } } })
        while (
          await bulks.carryOut(bulk.bulkId, async (id, tools) => {
            await tools.mailbox.post(id, { kind: 'verb', verb: command.verb, ...by })
            return { state: 'accepted' }
          })
        );
        return bulks.finish(bulk.bulkId)
      }
      case 'cut':
        network.when(command.words, network.cut)
        await dying.feed.publish(2).catch(() => undefined)
        return
      case 'quiet':
        return judge()
    }
  }

  async function judge(): Promise<void> {
    stage.store.wakeups.due(definition.queue)
    await quiet(stage)
    const expected = new Map<string, string[]>()
    const minutes = new Map<string, number>()
    for (const sagaId of sagaIds) {
      const tellings = toldBy(await stage.history(sagaId))
      expected.set(sagaId, tellings.map(inShort))
      for (const { type, at } of tellings) {
        if (!/^saga\.(started|completed|failed|cancelled|abandoned|stuck)$/.test(type)) continue
        const key = `${at.slice(0, 16)} ${type.slice('saga.'.length)}`
        minutes.set(key, (minutes.get(key) ?? 0) + 1)
      }
    }
    const events = await allEvents(stage)
    expect(events.map(({ position }) => position)).toEqual(events.map((_, index) => index + 1))
    expect(events.length).toBe(await stage.store.feed.last())
    for (const sagaId of sagaIds)
      expect(events.filter((event) => event.sagaId === sagaId).map(inShort)).toEqual(expected.get(sagaId))

    expect(
      await stage.query(`SELECT status::text, count::int FROM saga_counts WHERE count <> 0 ORDER BY 1`),
    ).toEqual(await stage.query(`SELECT status::text, count(*)::int FROM sagas GROUP BY 1 ORDER BY 1`))
    const kept = await stage.query(
      `SELECT to_char(minute AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI') || ' ' || event AS key, count::int FROM saga_minutes`,
    )
    expect(new Map(kept.map(({ key, count }) => [key, count]))).toEqual(minutes)
    const acts = events.filter(({ type }) => type === 'saga.acted').length
    expect(await stage.query(`SELECT count(*)::int FROM audit_log WHERE subject_kind = 'saga'`)).toEqual([
      { count: acts },
    ])
  }

  await fc.assert(
    fc.asyncProperty(commands, async (some) => {
      for (const command of some) await act(command)
      await judge()
    }),
    { numRuns: 8, endOnFailure: true },
  )
  // It has been through what it is about.
  const types = new Set((await allEvents(stage)).map(({ type }) => type))
  for (const type of ['saga.started', 'saga.stuck', 'saga.failed', 'saga.completed', 'saga.acted'])
    expect(types).toContain(type)
})

/** What its history says that there is to tell. */
function toldBy(history: readonly (Entry & { seq: number })[]) {
  let state: SagaState | undefined
  return history.flatMap((entry) => {
    const { seq } = entry
    const was = state?.status
    const next =
      state === undefined
        ? entry.kind === 'sagaStarted'
          ? begin(entry)
          : undefined
        : apply(state, entry, seq)
    if (next === undefined) throw new Error('a history begins with sagaStarted')
    state = next
    return tellingsOf({ was, state: next, entry, seq }, { steps: false })
  })
}

function inShort({ type, seq, status }: { type: string; seq: number; status: string }): string {
  return `${type} ${seq} ${status}`
}

async function allEvents(stage: Stage): Promise<PlacedEvent[]> {
  const events: PlacedEvent[] = []
  for (let after = 0; ; ) {
    const { items, last, more } = await stage.store.feed.events({}, { after, limit: 500 })
    events.push(...items)
    if (!more) return events
    after = last
  }
}

/** Nothing moves, nothing is unread, and all has been published. */
async function quiet(stage: Stage): Promise<void> {
  const moving = () =>
    stage.query(
      `SELECT saga_id::text, status::text, owner, due_at FROM sagas
       WHERE owner IS NOT NULL OR due_at < now() + interval '1 minute' OR (ended_at IS NULL AND mail_seen < mail_seq)
       UNION ALL SELECT NULL, 'an event waits', NULL, at FROM events WHERE last_position IS NULL`,
    )
  await expect.poll(moving, { timeout: 60_000 }).toEqual([])
}
