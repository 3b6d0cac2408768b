import fc from 'fast-check'
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { ConnectionLost } from './failure.ts'
import { flushWithRecovery } from './flush.ts'
import type { Settled } from './gather.ts'

/** A statement that squares its items, unless something is wrong with one of them. */
function squares(items: number[]): Settled<number>[] {
  return items.map((item) => ({ ok: true, answer: item * item }))
}

function sqlError(code: string): Error {
  return Object.assign(new pg.DatabaseError('no', 1, 'error'), { code, severity: 'ERROR' })
}

const always = () => true

describe('a batch with bad items', () => {
  test('is halved until only they fail, wherever they are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.nat(999), { minLength: 1, maxLength: 64 }),
        fc.context(),
        async (items, context) => {
          const bad = new Set(items.filter((item) => item % 7 === 0))
          let statements = 0
          const answers = await flushWithRecovery(
            items,
            async (some) => {
              statements++
              if (some.some((item) => bad.has(item))) throw sqlError('22P05')
              return squares(some)
            },
            always,
          )
          context.log(`${statements} statements`)
          expect(answers.map((answer) => (answer.ok ? answer.answer : 'failed'))).toEqual(
            items.map((item) => (bad.has(item) ? 'failed' : item * item)),
          )
          expect(statements).toBeLessThanOrEqual(1 + 2 * bad.size * Math.ceil(Math.log2(items.length)))
        },
      ),
      { numRuns: 50 },
    )
  })

  test('is halved also when building the statement fails, or the server breaks over it each time', async () => {
    for (const error of [
      new TypeError('a BigInt'),
      new RangeError('NaN'),
      sqlError('XX000'),
      sqlError('57014'),
    ]) {
      const answers = await flushWithRecovery(
        [1, 2, 3],
        async (some) => {
          if (some.includes(2)) throw error
          return squares(some)
        },
        always,
      )
      expect(answers).toEqual([
        { ok: true, answer: 1 },
        { ok: false, error },
        { ok: true, answer: 9 },
      ])
    }
  })
})

describe('a batch whose database is away', () => {
  test('is sent again as it was, until it is answered (F37, F40)', async () => {
    const errors = [new ConnectionLost('cut'), sqlError('53100'), sqlError('40P01')]
    const sent: number[][] = []
    const answers = await flushWithRecovery(
      [1, 2],
      async (some) => {
        sent.push(some)
        const error = errors.shift()
        if (error !== undefined) throw error
        return squares(some)
      },
      always,
    )
    expect(answers).toEqual(squares([1, 2]))
    expect(sent).toEqual([
      [1, 2],
      [1, 2],
      [1, 2],
      [1, 2],
    ])
  })

  test('fails as a whole once nobody may wait any longer, and says why', async () => {
    const cause = sqlError('57P03')
    const send = async () => {
      throw cause
    }
    let asked = 0
    const answers = await flushWithRecovery([1, 2], send, () => ++asked < 2)
    expect(answers).toEqual([1, 2].map(() => ({ ok: false, error: expect.any(ConnectionLost) })))
    expect(answers[0]).toMatchObject({ error: { cause } })
  })

  test('has one time limit, however often it is halved', async () => {
    const ages: number[] = []
    await flushWithRecovery(
      [1, 2],
      async (some) => {
        if (some.length === 1) throw new ConnectionLost('cut')
        await new Promise((resolve) => setTimeout(resolve, 20))
        throw sqlError('22P05')
      },
      (sinceMs) => {
        ages.push(sinceMs)
        return false
      },
    )
    expect(Math.min(...ages)).toBeGreaterThanOrEqual(19)
  })
})
