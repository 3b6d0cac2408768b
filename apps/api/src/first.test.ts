import { writeFileSync } from 'node:fs'
import { test } from 'vitest'
import { openStageForTest } from './testing.ts'
test('it works', async () => {
  const s = await openStageForTest()
  writeFileSync('/tmp/openapi.json', (await s.ask('GET','/openapi.json')).text)
})
