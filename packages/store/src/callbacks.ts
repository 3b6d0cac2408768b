import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { canonicalJson, type Direction, generationOf, InputOverrides } from '@backstitch/core'
import { sql } from 'kysely'
import { z } from 'zod'
import type { Database } from './database.ts'
import { isUniqueViolation } from './failure.ts'
import { bucketOf, isSagaId } from './ids.ts'
import type { Letter } from './mailbox.ts'

/**
 * Callbacks (M3). A token is `<sagaId>.<HMAC(installation key, saga, step, direction, generation)>`: the same for every
 * attempt of one step in one direction, so that a participant which dedups answers with the first it was given; stored
 * nowhere; good until that step is decided.
 */
export type Callbacks = {
  /** What makes a token, given the installation's key. Read once. */
  tokens(): Promise<TokenMaker>
  /**
   * Leaves how an attempt has ended in its saga's mail. Said again, it changes nothing and is answered as the first time;
   * `key` tells one saying from another where their words do not.
   * `unknown`: forged, mistyped, or no longer awaited; nobody is told which.
   */
  post(
    token: string,
    end: CallbackEnd,
    key?: string,
  ): Promise<{ is: 'posted'; queue: string } | { is: 'unknown' }>
}

type CallbackEnd = Extract<Letter, { kind: 'callback' }>['end']

export type TokenMaker = (sagaId: string, step: string, direction: Direction, generation: number) => string

export function createCallbacks(database: Database): Callbacks {
  let maker: Promise<TokenMaker> | undefined

  async function readKey(): Promise<TokenMaker> {
    const { callback_key: key } = await database
      .selectFrom('installation')
      .select('callback_key')
      .executeTakeFirstOrThrow()
    return (sagaId, step, direction, generation) => {
      const mac = createHmac('sha256', key).update(`${sagaId}:${step}:${direction}:${generation}`)
      return `${sagaId}.${mac.digest('base64url')}`
    }
  }

  function tokens(): Promise<TokenMaker> {
    maker ??= readKey().catch((error: unknown) => {
      maker = undefined
      throw error
    })
    return maker
  }

  /** The step that the token was made for, if it is awaited. */
  async function awaited(token: string, sagaId: string) {
    const row = await database
      .selectFrom('sagas')
      .select([
        'status',
        sql<unknown>`state->'attempts'`.as('attempts'),
        sql`state->'stuck'->>'direction'`.as('stuck'),
        sql<unknown>`state->'inputOverrides'`.as('overrides'),
      ])
      .where('bucket', '=', bucketOf(sagaId))
      .where('saga_id', '=', sagaId)
      .where('ended_at', 'is', null)
      .executeTakeFirst()
    const attempts = Attempts.safeParse(row?.attempts)
    if (row === undefined || !attempts.success) return undefined
    const back = row.status === 'compensating' || (row.status === 'stuck' && row.stuck === 'compensation')
    const direction = back ? 'compensation' : 'action'
    const tokenOf = await tokens()
    const inputOverrides = InputOverrides.safeParse(row.overrides).data
    for (const [step, attempt] of Object.entries(attempts.data)) {
      const generation = generationOf({ inputOverrides }, { step, direction })
      if (isSame(tokenOf(sagaId, step, direction, generation), token))
        return { step, direction, attempt } as const
    }
    return undefined
  }

  /** Has this been said before? Then it was taken, whatever has become of the step. No letter is opened for it. */
  async function said(sagaId: string, saying: string): Promise<{ queue: string } | undefined> {
    return database
      .selectFrom('saga_mail as m')
      .innerJoin('sagas as s', (join) =>
        join.onRef('s.bucket', '=', 'm.bucket').onRef('s.saga_id', '=', 'm.saga_id'),
      )
      .select('s.queue')
      .where('m.bucket', '=', bucketOf(sagaId))
      .where('m.saga_id', '=', sagaId)
      .where('m.dedup_key', 'is not', null)
      .where(sql<boolean>`starts_with(m.dedup_key, ${saying})`)
      .limit(1)
      .executeTakeFirst()
  }

  return {
    tokens,

    async post(token, end, key) {
      const sagaId = token.slice(0, 36)
      if (!isSagaId(sagaId) || token.length > MAX_TOKEN) return { is: 'unknown' }
      const saying = sayingOf(token, end, key)
      const step = await awaited(token, sagaId)
      if (step !== undefined) {
        const { attempt, ...which } = step
        const letter: Letter = { kind: 'callback', ...which, end }
        // Without a key a second attempt may well fail as the first did.
        const dedupKey = key === undefined ? `${saying}:${attempt}` : saying
        try {
          const { rows } = await sql<{ queue: string }>`
            WITH u AS (
              UPDATE sagas s SET mail_seq = s.mail_seq + 1, due_at = CASE WHEN s.owner IS NULL THEN now() END
              WHERE s.bucket = ${bucketOf(sagaId)} AND s.saga_id = ${sagaId} AND s.ended_at IS NULL
                AND s.state->'attempts' ? ${which.step}
                AND NOT EXISTS (
                  SELECT 1 FROM saga_mail m
                  WHERE m.bucket = s.bucket AND m.saga_id = s.saga_id AND m.dedup_key = ${dedupKey})
              RETURNING s.bucket, s.saga_id, s.mail_seq, s.queue
            ), m AS (
              INSERT INTO saga_mail AS m (bucket, saga_id, seq, body, dedup_key)
              SELECT bucket, saga_id, mail_seq, ${JSON.stringify(letter)}::jsonb, ${dedupKey} FROM u
            )
            SELECT queue FROM u`.execute(database)
          const [row] = rows
          if (row !== undefined) return { is: 'posted', queue: row.queue }
        } catch (error) {
          // The same callback, delivered twice at once: the other has left its letter.
          if (!isUniqueViolation(error)) throw error
        }
      }
      const known = await said(sagaId, saying)
      return known === undefined ? { is: 'unknown' } : { is: 'posted', queue: known.queue }
    },
  }
}

const MAX_TOKEN = 200
const Attempts = z.record(z.string(), z.number())

function isSame(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}

/** What tells a repetition from another callback with the same token: its key; or, without one, what it says. */
function sayingOf(token: string, end: CallbackEnd, key: string | undefined): string {
  const said = key === undefined ? `says ${canonicalJson(end)}` : `key ${key}`
  return createHash('sha256').update(`${token}\n${said}`).digest('base64url')
}
