import { describe, expect, test } from 'vitest'
import { ACTION_SCOPE } from './expression.ts'
import type { Json } from './json.ts'
import { compileProbe, readProbe } from './probe.ts'

const VALUES = { input: { n: 1 }, context: {}, saga: { id: 's' } }

function read(
  answer: { status: number; body: Json },
  more: { happened?: string; result?: Json; willNotHappen?: string } = {},
) {
  const compiled = compileProbe({ type: 'http', method: 'GET', url: 'http://p/', ...more }, ACTION_SCOPE, '')
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  return readProbe(compiled.probe, answer, VALUES)
}

describe('without expressions an answer is read by its outcome', () => {
  test.each<[Json, ReturnType<typeof read>]>([
    [
      { outcome: 'happened', result: { id: 7 } },
      { answer: 'happened', result: { id: 7 } },
    ],
    [{ outcome: 'happened' }, { answer: 'happened', result: null }],
    [{ outcome: 'willNotHappen' }, { answer: 'willNotHappen' }],
  ])('%j', (body, finding) => {
    expect(read({ status: 200, body })).toEqual(finding)
    expect(read({ status: 299, body })).toEqual(finding)
  })

  test.each<Json>([
    null,
    'happened',
    [],
    {},
    { outcome: true },
    { outcome: 'Happened' },
    { outcome: 'didNotHappen' },
    { outcome: 'unknown' },
  ])('%j proves nothing', (body) => {
    expect(read({ status: 200, body })).toMatchObject({ answer: 'unknown' })
  })

  test.each([404, 410, 422, 503])('with status %d it proves nothing, whatever its body', (status) => {
    expect(read({ status, body: { outcome: 'willNotHappen' } })).toMatchObject({ answer: 'unknown' })
  })
})

describe('with expressions', () => {
  test('a status may say all', () => {
    expect(read({ status: 410, body: null }, { willNotHappen: 'answer.status == 410' })).toEqual({
      answer: 'willNotHappen',
    })
    expect(read({ status: 200, body: { id: 7 } }, { happened: 'answer.status == 200' })).toEqual({
      answer: 'happened',
      result: { id: 7 },
    })
  })

  test.each([302, 408, 425, 429, 500, 503])('status %d is never asked about', (status) => {
    expect(read({ status, body: null }, { happened: 'true', willNotHappen: 'true' })).toEqual({
      answer: 'unknown',
      why: `it answered ${status}`,
    })
  })

  test('an answer that says both, or one that cannot be read, proves nothing', () => {
    const both = { happened: 'true', willNotHappen: 'true' }
    expect(read({ status: 200, body: null }, both)).toMatchObject({
      answer: 'unknown',
      why: expect.stringContaining('both'),
    })
    for (const field of ['happened', 'willNotHappen']) {
      const finding = read({ status: 200, body: {} }, { [field]: 'answer.body.missing.field == 1' })
      expect(finding).toMatchObject({ answer: 'unknown', why: expect.stringMatching(`^${field}: `) })
    }
    const finding = read({ status: 200, body: {} }, { happened: 'true', result: '${{ answer.body.id }}' })
    expect(finding).toMatchObject({ answer: 'unknown', why: expect.stringMatching('^/result: ') })
  })
})
