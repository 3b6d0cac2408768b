import fs from 'node:fs'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { insurance } from './insurance.ts'
import { sagas } from './saga.ts'

const Step = z.looseObject({
  name: z.string(),
  action: z.looseObject({ type: z.string(), service: z.string().optional() }),
  compensation: z.looseObject({ service: z.string() }).optional(),
})
const Entry = z.union([Step, z.looseObject({ parallel: z.array(Step) })])

const document = z
  .object({ steps: z.array(Entry) })
  .parse(JSON.parse(fs.readFileSync(new URL('../trip.json', import.meta.url), 'utf8')))
const [, trip] = sagas

/** Without what is said of a step. */
function bare(entries: unknown): unknown {
  const text = JSON.stringify(entries, (key, value: unknown) =>
    key === 'description' || key === 'method' ? undefined : value,
  )
  return JSON.parse(text)
}

describe('the trip in TypeScript', () => {
  test('is the trip of the document, and one function more', () => {
    const steps = z.array(Entry).parse(trip?.definition.steps)
    expect(bare(steps.slice(0, -1))).toEqual(bare(document.steps))
    expect([...(trip?.handlers.keys() ?? [])]).toEqual(['closeFile'])
  })

  test('insures the traveller by a saga that has handlers, and so a queue of its own', () => {
    expect([...insurance.handlers].map(([step, handlers]) => [step, Object.keys(handlers)])).toEqual([
      ['quote', ['action']],
      ['issuePolicy', ['action', 'compensation']],
    ])
  })
})
