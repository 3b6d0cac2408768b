import fs from 'node:fs'
import { expect, test } from 'vitest'
import { orderDefinition } from './definition.ts'

test('order.json is what orderDefinition says, for the address in docker-compose.yml', () => {
  const file = new URL('../order.json', import.meta.url)
  expect(JSON.parse(fs.readFileSync(file, 'utf8'))).toEqual(orderDefinition('http://participants:9000'))
})
