import { expect, test } from 'vitest'
import { Narrator } from './narrator.ts'
import { order, trip } from './play.ts'
import { pointOut } from './pointers.ts'

const sights = {
  play: order,
  apiUrl: 'http://127.0.0.1:8080',
  participantsUrl: 'http://127.0.0.1:40425',
  version: undefined,
  sagaId: '8c9b15c8-6578-44db-a101-e4101248b919',
  logs: '.backstitch/logs',
  workers: [
    { name: 'worker 1', pid: 15_855 },
    { name: 'worker 2', pid: 16_200 },
  ],
}

function told(changes: Partial<typeof sights> | { version: number }): string {
  let text = ''
  pointOut(new Narrator((more) => (text += more), false), { ...sights, ...changes })
  return text
}

test('reads as it should', () => {
  expect(told({})).toMatchSnapshot('order')
  expect(told({ play: trip })).toMatchSnapshot('trip')
})

test('the body of the curl line is JSON, also over its line breaks', () => {
  const body = (text: string) => JSON.parse(/-d '([^']*)'/.exec(text)?.[1] ?? '')
  expect(body(told({}))).toMatchObject({ definition: 'order', input: { orderId: 'o-4' } })
  expect(body(told({ play: trip }))).toMatchObject({ definition: 'trip', input: { hotel: 'Casa Azul' } })
  expect(body(told({ version: 3 }))).toMatchObject({ definition: 'order', version: 3 })
})
