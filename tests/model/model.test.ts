import { describe, expect, test } from 'vitest'
import { broken, check, missingTools, sound } from './check.ts'

const missing = missingTools()
const note = missing === undefined ? '' : ` — not checked here: ${missing}`

describe.skipIf(missing !== undefined)(`the model of lease, fence and mailbox${note}`, () => {
  test.each(sound.filter(({ full }) => full !== true))(
    'holds in every state that can be reached: $name',
    async (one) => {
      expect(await check(one)).toMatchObject({ errors: 0, violated: undefined })
    },
    120_000,
  )

  test.each(broken)(
    'falls when a rule is broken: $name (F04, F06, F08, F10)',
    async (one) => {
      expect((await check(one)).violated).toMatch(one.falls)
    },
    120_000,
  )
})
