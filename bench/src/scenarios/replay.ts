import { createLane } from '@backstitch/store/lane'
import { perStep } from '../load.ts'
import { createMeter } from '../meter.ts'
import { query } from '../place.ts'
import { record } from '../recorder.ts'
import type { Contender, Ratio, Scenario } from '../scenario.ts'

const STEPS = 3
const LIST_INDEXES = [
  'definition',
  'status',
  'tags',
  'failure',
  'failed_step',
  'paused',
  'unclean',
  'key',
  'correlation',
]
const CHECKS = `
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT conname FROM pg_constraint WHERE conrelid = 'sagas'::regclass AND contype = 'c' LOOP
    EXECUTE format('ALTER TABLE sagas DROP CONSTRAINT %I', name);
  END LOOP;
END $$`

type Kind = { of: string; count: number; inFlight: number }
const KINDS: readonly Kind[] = [
  { of: 'of 1,000 in flight', count: 6_000, inFlight: 1_000 },
  { of: 'one at a time', count: 400, inFlight: 1 },
]
/** What is taken away, and by which statements. */
const LEFT_OUT: Record<string, readonly string[]> = {
  'without the indexes of the lists': LIST_INDEXES.map((name) => `DROP INDEX sagas_${name}_idx`),
  'without CHECKs': [CHECKS],
}

export const replay: Scenario = {
  name: 'replay',
  about:
    'The statements of sagas of three steps, recorded and sent again on two connections by nobody but this loop: what Postgres alone takes for them, and what some of it takes.',
  contenders: ({ size }) =>
    KINDS.flatMap((kind) => {
      const given = { ...kind, count: size ?? kind.count }
      return [
        replayed(`again, ${kind.of}`, given, []),
        ...Object.entries(LEFT_OUT).map(([what, statements]) =>
          replayed(`${kind.of}, ${what}`, given, statements),
        ),
      ]
    }),
  ratios: KINDS.flatMap(({ of }) =>
    Object.keys(LEFT_OUT).map(
      (what): Ratio => ({
        name: `processor time of Postgres, ${of}, ${what} : with all`,
        of: [`${of}, ${what}`, 'postgresCpuUsPerStep'],
        to: [`again, ${of}`, 'postgresCpuUsPerStep'],
      }),
    ),
  ),
}

function replayed(name: string, { count, inFlight }: Kind, without: readonly string[]): Contender {
  return {
    name,
    async open(place) {
      const sent = await record(place, { count, inFlight })
      for (const statement of without) await query(place.url, statement)
      const lane = { databaseUrl: place.url, applicationName: 'replay' }
      const [starts, commits] = [createLane({ ...lane, joins: 'hash' }), createLane(lane)]
      const meter = await createMeter(place)
      async function sendAgain(): Promise<void> {
        for (const one of sent) await (one.name.startsWith('start') ? starts : commits).query(one, one.values)
      }
      return {
        async run() {
          await query(place.url, 'TRUNCATE sagas, saga_history, saga_mail, events')
          const cost = await meter.measure(sendAgain)
          const [rows] = await query(
            place.url,
            'SELECT count(*)::int AS ended FROM sagas WHERE ended_at IS NOT NULL',
          )
          if (rows?.ended !== count) throw new Error(`of ${count} sagas ${String(rows?.ended)} ended again`)
          return perStep(cost, count, STEPS)
        },
        async close() {
          await Promise.all([starts.close(), commits.close(), meter.close()])
        },
      }
    },
  }
}
