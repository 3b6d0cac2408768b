import { createTestDatabase } from '@backstitch/local-postgres/testing'
import { expect, onTestFinished, test } from 'vitest'
import { createLink } from './link.ts'

test('documents are read as they are, also with escapes in their keys, and also what our door would refuse', async () => {
  const database = await createTestDatabase()
  const link = createLink({ databaseUrl: database.url, applicationName: 'test' }, async () => undefined)
  onTestFinished(async () => {
    await link.close()
    await database.drop()
  })
  const read = (json: string) =>
    link.use(
      async (client) => (await client.query<{ v: unknown }>('SELECT $1::jsonb AS v', [json])).rows[0]?.v,
    )

  expect(await read('{"a\\"b": 1, "a\\\\b": {"\\n": [true, null]}, "plain": "x\\ty"}')).toEqual({
    'a"b': 1,
    'a\\b': { '\n': [true, null] },
    plain: 'x\ty',
  })
  expect(await read('{"\\"": 12345678901234567890}')).toEqual({ '"': 12345678901234567000 })
})
