import { expect, test } from 'vitest'
import { Narrator } from './narrator.ts'

function told(colour: boolean, tell: (narrator: Narrator) => void): string {
  let text = ''
  tell(new Narrator((more) => (text += more), colour))
  return text
}

function aStory(narrator: Narrator): void {
  narrator.title()
  narrator.up('postgres', 'embedded, port 5432', 2345)
  narrator.up('schema', `applied ${'0001_sagas, '.repeat(9)}`, 345)
  narrator.story(
    2,
    'The card is declined',
    'A definite no is not retried: what was done before it is undone.',
  )
  narrator.moment({ mark: '✓', what: 'reserveInventory', tookMs: 31, who: 'worker 1', note: undefined })
  const why =
    'rejected: the participant answered 402 Payment Required: card-declined: the bank declined the card'
  narrator.moment({ mark: '✗', what: 'chargePayment', tookMs: 1234, who: 'worker 2', note: why })
  narrator.moment({ mark: '↩', what: 'reserveInventory', tookMs: 8, who: 'worker 2', note: 'undone' })
  narrator.aside('worker 1 is killed', 'bad')
  narrator.ending('Failed and clean in 0.1 s.', [{ claim: 'it should be clean', holds: true, found: 'true' }])
  narrator.ending('', [
    { claim: 'the status should be failed', holds: false, found: 'running' },
    { claim: 'it should be clean', holds: true, found: 'true' },
  ])
  narrator.news('bad', 'worker 1 was killed by SIGKILL; it is started again at once', ['error out of luck'])
  narrator.pointers('Where to look next:', [['The API', '  http://127.0.0.1:8080/docs']])
  narrator.stopped('0.4 s')
}

test('reads as it should', () => {
  expect(told(false, aStory)).toMatchSnapshot()
})

test('stays within 80 columns, and plain where no colour is wanted', () => {
  const lines = told(false, aStory).split('\n')
  expect(lines.filter((line) => line.length > 80)).toEqual([])
  expect(lines.join('\n')).toMatch(/^[^\x1b\r]*$/)
})

test('says the same in colour', () => {
  const coloured = told(true, aStory)
  expect(coloured).toContain('\x1b[')
  expect(coloured.replaceAll(/\x1b\[\d+m/g, '').replaceAll(/ +\n/g, '\n')).toBe(told(false, aStory))
})
