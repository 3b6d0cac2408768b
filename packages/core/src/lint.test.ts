import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Json } from './json.ts'
import { checkDefinition, pointerTo } from './lint.ts'
import { sketch } from './testing.ts'

/** S27: what is impossible is refused, what is merely odd is returned as a warning; both with the place. */

const post = { type: 'http', url: 'https://pay.example/charge' }

function problemsIn(document: Json) {
  const checked = checkDefinition(document)
  return checked.ok ? [] : checked.problems
}
function warningsFor(document: Json) {
  const checked = checkDefinition(document)
  return checked.ok ? checked.warnings : checked
}
const delay = { action: { type: 'delay', delayMs: 1_000 }, compensation: undefined }
const signal = { action: { type: 'signal', signal: 'approved' }, timeoutMs: 1_000, compensation: undefined }
/** A definition of one step that differs from a good one by what is given. */
const withStep = (step: Record<string, Json | undefined>) => sketch([{ name: 'charge', ...step }])
const withUrl = (url: Json) => withStep({ action: { type: 'http', url } })
const withHeaders = (headers: Json) => withStep({ action: { ...post, headers } })

test('a good definition has neither problems nor warnings, and its defaults are filled in', () => {
  const document = sketch(['reserve', { name: 'charge', action: post }, 'ship'])
  expect(checkDefinition(document)).toMatchObject({
    ok: true,
    definition: {
      name: 'order',
      steps: [{ name: 'reserve' }, { action: { ...post, method: 'POST' } }, { name: 'ship' }],
    },
    warnings: [],
  })
})

describe('an unknown field is refused at its place', () => {
  test.each([
    ['at the top', sketch(['a'], { colour: 'red' }), '/colour'],
    ['in the defaults', sketch(['a'], { defaults: { retries: 3 } }), '/defaults/retries'],
    ['in a step', sketch(['a', { name: 'b', timeout: 5 }]), '/steps/1/timeout'],
    ['in a retry policy', withStep({ retry: { tries: 3 } }), '/steps/0/retry/tries'],
    ['in an action', withStep({ action: { ...post, verb: 'GET' } }), '/steps/0/action/verb'],
    [
      'in a compensation',
      withStep({ compensation: { type: 'handler', url: 'x' } }),
      '/steps/0/compensation/url',
    ],
    ['with a name that needs escaping', withStep({ 'a/b~c': 1 }), '/steps/0/a~1b~0c'],
    ['named as what every object has', withStep({ toString: 1 }), '/steps/0/toString'],
    [
      'named __proto__',
      JSON.parse('{"name":"o","__proto__":{},"steps":[{"name":"a","action":{"type":"handler"}}]}'),
      '/__proto__',
    ],
  ])('%s', (_, document, pointer) => {
    expect(problemsIn(document)).toEqual([
      { pointer, detail: 'unknown field; remove it or check its spelling' },
    ])
  })
})

describe('a name is refused', () => {
  test('that another step has', () => {
    expect(problemsIn(sketch(['a', 'b', 'a']))).toEqual([
      { pointer: '/steps/2/name', detail: '"a" is already the name of step 0' },
    ])
  })

  test('that the context needs for the start input', () => {
    expect(problemsIn(sketch(['a', 'input']))).toMatchObject([
      { pointer: '/steps/1/name', detail: expect.stringContaining('is taken') },
    ])
  })

  test.each(['', '1st', '_a', 'a b', 'a.b', 'é', '__proto__', 'a'.repeat(65), 'a\n', 7, null])(
    'that is %j',
    (name) => {
      expect(problemsIn(withStep({ name }))).toMatchObject([{ pointer: '/steps/0/name' }])
      expect(problemsIn(sketch(['a'], { name }))).toMatchObject([{ pointer: '/name' }])
      expect(problemsIn(sketch(['a'], { queue: name }))).toMatchObject([{ pointer: '/queue' }])
    },
  )

  test.each(['a', 'Z', 'a'.repeat(64), 'charge-card_2', 'constructor', 'toString', 'hasOwnProperty'])(
    'unless it is like %s',
    (name) => {
      expect(checkDefinition(sketch([{ name }, 'last'], { name, queue: name })).ok).toBe(true)
    },
  )
})

describe('a limit is named where it is exceeded (S32)', () => {
  const steps = (count: number) => sketch(Array.from({ length: count }, (_, index) => `step${index}`))

  test('500 steps', () => {
    expect(checkDefinition(steps(500)).ok).toBe(true)
    expect(problemsIn(steps(501))).toMatchObject([
      { pointer: '/steps', detail: expect.stringContaining('500') },
    ])
    expect(problemsIn(steps(0))).toMatchObject([{ pointer: '/steps' }])
  })

  test('256 KiB, counted in bytes of JSON', () => {
    const room = 256 * 1024 - Buffer.byteLength(JSON.stringify(withStep({ action: { ...post, body: '' } })))
    const euros = '€'.repeat(Math.floor(room / 3))
    expect(checkDefinition(withStep({ action: { ...post, body: euros } })).ok).toBe(true)
    expect(problemsIn(withStep({ action: { ...post, body: `${euros}€` } }))).toEqual([
      {
        pointer: '',
        detail: expect.stringMatching(/^the definition has 2621\d\d bytes as JSON; the most is 262144$/),
      },
    ])
  })

  test.each([
    ['timeoutMs', 0],
    ['timeoutMs', 1.5],
    ['timeoutMs', '5'],
    ['timeoutMs', 366 * 86_400_000 + 1],
    ['retry/maxAttempts', 0],
    ['retry/maxAttempts', 1001],
    ['retry/factor', 0.9],
    ['retry/factor', 101],
    ['retry/initialDelayMs', 0],
    ['retry/maxDelayMs', -1],
    ['compensateWhen', 'always'],
  ])('%s: %j', (field, value) => {
    const [outer = '', inner] = field.split('/')
    const step = { [outer]: inner === undefined ? value : { [inner]: value } }
    expect(problemsIn(withStep(step))).toMatchObject([{ pointer: `/steps/0/${field}` }])
  })
})

describe('a URL is refused', () => {
  test.each([
    ['', 'not an absolute URL'],
    ['/charge', 'not an absolute URL'],
    ['javascript:alert(1)', 'not an absolute URL'],
    ['ftp://h/', 'the scheme is "ftp"'],
    ['http://', 'not a host'],
    ['http://é/', 'not a host'],
    ['http://h\\x/', 'not a host'],
    ['http://h:65536/', 'the port is over 65535'],
    ['http://u:p@h/', 'user name or password'],
    ['http://h/#top', 'a fragment'],
    ['http://h/a b', 'percent-encode'],
    ['http://h/é', 'percent-encode'],
    ['http://h/a\nb', 'percent-encode'],
    [`http://h/${'x'.repeat(2048)}`, '2048'],
    [7, 'string'],
  ])('such as %j', (url, detail) => {
    expect(problemsIn(withUrl(url))).toEqual([
      { pointer: '/steps/0/action/url', detail: expect.stringContaining(detail) },
    ])
  })

  test.each(['http://h', 'HTTPS://h/', 'http://h:65535/a?b=c', 'http://[::1]:80/', 'http://10.0.0.1/%C3%A9'])(
    'unless it is like %s',
    (url) => {
      expect(checkDefinition(withUrl(url)).ok).toBe(true)
    },
  )
})

describe('a header is refused', () => {
  test.each([
    [{ 'a b': '1' }, 'not a valid name'],
    [{ '': '1' }, 'not a valid name'],
    [{ 'a/b': '1' }, 'not a valid name'],
    [{ Host: 'h' }, 'set by the engine'],
    [{ 'content-length': '1' }, 'set by the engine'],
    [{ 'Idempotency-Key': '1' }, 'set by the engine'],
    [{ TraceParent: '1' }, 'set by the engine'],
    [{ 'saga-id': '1' }, 'set by the engine'],
    [{ x: 'a\r\nHost: h' }, 'no HTTP header may carry'],
    [{ x: '€' }, 'no HTTP header may carry'],
    [{ x: 1 }, 'string'],
  ])('such as %j', (headers, detail) => {
    const pointer = `/steps/0/action/headers${pointerTo(Object.keys(headers))}`
    expect(problemsIn(withHeaders(headers))).toEqual([{ pointer, detail: expect.stringContaining(detail) }])
  })

  test('beyond the fiftieth', () => {
    const headers = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`x${index}`, '']))
    expect(checkDefinition(withHeaders(headers(50))).ok).toBe(true)
    expect(problemsIn(withHeaders(headers(51)))).toEqual([
      { pointer: '/steps/0/action/headers', detail: '51 headers; the most is 50' },
    ])
  })

  test('unless it is like Authorization or X-Tenant', () => {
    expect(checkDefinition(withHeaders({ Authorization: 'Bearer 1', 'X-Tenant': 'é' })).ok).toBe(true)
  })
})

describe('what cannot work is refused', () => {
  test('a longest pause shorter than the first', () => {
    const detail = 'maxDelayMs (10) is less than initialDelayMs (200), counting the defaults'
    expect(problemsIn(withStep({ retry: { maxDelayMs: 10 } }))).toEqual([
      { pointer: '/steps/0/retry', detail },
    ])
    const undo = { type: 'handler', retry: { maxDelayMs: 10 } }
    expect(problemsIn(withStep({ compensation: undo }))).toEqual([
      { pointer: '/steps/0/compensation/retry', detail },
    ])
  })

  test('one in the defaults is reported there, and once', () => {
    const problems = problemsIn(sketch(['a', 'b'], { defaults: { retry: { initialDelayMs: 60_000 } } }))
    const detail = 'maxDelayMs (30000) is less than initialDelayMs (60000), counting the defaults'
    expect(problems).toEqual([{ pointer: '/defaults/retry', detail }])
  })

  test('a wish about a compensation that is not there', () => {
    const problems = problemsIn(withStep({ compensation: undefined, compensateWhen: 'uncertain' }))
    expect(problems).toMatchObject([
      { pointer: '/steps/0/compensateWhen', detail: expect.stringContaining('no compensation') },
    ])
  })

  test('a GET with a body, in either direction', () => {
    const get = { ...post, method: 'GET', body: null }
    expect(problemsIn(withStep({ action: get, compensation: get }))).toEqual([
      { pointer: '/steps/0/action/body', detail: 'a GET request has no body' },
      { pointer: '/steps/0/compensation/body', detail: 'a GET request has no body' },
    ])
  })

  test('a wait for a signal that does not say for how long, whatever the defaults say (S4)', () => {
    const document = sketch(['a', { name: 'approve', ...signal, timeoutMs: undefined }], {
      defaults: { timeoutMs: 5 },
    })
    const detail = 'missing; a step that waits for a signal says for how long'
    expect(problemsIn(document)).toEqual([{ pointer: '/steps/1/timeoutMs', detail }])
    expect(problemsIn(withStep(signal))).toEqual([])
    expect(problemsIn(withStep({ ...signal, compensation: { type: 'handler' } }))).toEqual([])
  })

  test.each([
    ['compensation', { type: 'handler' }, 'a delay leaves nothing to undo; remove this'],
    ['timeoutMs', 5, 'a delay has no time-out; remove this'],
    ['retry', { maxAttempts: 2 }, 'a delay is waited for once; remove this'],
    ['pivot', true, 'a delay changes nothing, so it cannot be the pivot'],
  ])('a delay with %s (S7a)', (field, value, detail) => {
    expect(problemsIn(withStep({ ...delay, [field]: value }))).toEqual([
      { pointer: `/steps/0/${field}`, detail },
    ])
    expect(problemsIn(withStep(delay))).toEqual([])
  })

  test.each([
    ['retry', { maxAttempts: 1 }, 'a signal is waited for once; remove this'],
    ['pivot', true, 'a signal changes nothing, so it cannot be the pivot'],
  ])('a wait for a signal with %s (S7a)', (field, value, detail) => {
    expect(problemsIn(withStep({ ...signal, [field]: value }))).toEqual([
      { pointer: `/steps/0/${field}`, detail },
    ])
  })

  test.each([
    ['a delay without a length', { type: 'delay' }, '/steps/0/action/delayMs'],
    ['a delay of no length', { type: 'delay', delayMs: 0 }, '/steps/0/action/delayMs'],
    ['a delay of over a year', { type: 'delay', delayMs: 366 * 86_400_000 + 1 }, '/steps/0/action/delayMs'],
    ['a signal without a name', { type: 'signal' }, '/steps/0/action/signal'],
    ['a signal with a name that is none', { type: 'signal', signal: 'a b' }, '/steps/0/action/signal'],
    ['a signal with a URL', { ...signal.action, url: 'http://h/' }, '/steps/0/action/url'],
  ])('%s', (_, action, pointer) => {
    expect(problemsIn(withStep({ ...signal, action }))).toMatchObject([{ pointer }])
  })

  test.each(['delay', 'signal'])('a compensation that is a %s', (type) => {
    const compensation = { ...delay.action, ...signal.action, type }
    expect(problemsIn(withStep({ compensation }))).toMatchObject([{ pointer: '/steps/0/compensation/type' }])
  })

  test('a second pivot, and every one after it (S14)', () => {
    const pivot = (name: string) => ({ name, pivot: true, compensation: undefined })
    const detail = 'step "b" is the pivot already; there is one at most'
    expect(problemsIn(sketch(['a', pivot('b'), pivot('c'), 'd', pivot('e')]))).toEqual([
      { pointer: '/steps/2/pivot', detail },
      { pointer: '/steps/4/pivot', detail },
    ])
    expect(problemsIn(sketch(['a', pivot('b'), { name: 'c', pivot: false }]))).toEqual([])
  })

  test.each([null, 5, 'text', []])('a document that is %j', (document) => {
    expect(problemsIn(document)).toMatchObject([{ pointer: '' }])
  })

  test('an action of no known type', () => {
    expect(problemsIn(withStep({ action: { type: 'smtp' } }))).toMatchObject([
      { pointer: '/steps/0/action/type' },
    ])
  })
})

describe('what is odd is a warning', () => {
  test('a step that writes, has no compensation and has steps after it', () => {
    const look = { name: 'look', action: { ...post, method: 'GET' }, compensation: undefined }
    const warnings = warningsFor(
      sketch([look, { name: 'charge', compensation: undefined }, { name: 'ship', compensation: undefined }]),
    )
    expect(warnings).toEqual([
      {
        pointer: '/steps/1',
        detail:
          'step "charge" may change something and has no compensation: if a later step fails, its effect stays',
      },
    ])
  })

  test('a compensation that is the same request as its action', () => {
    const same = { action: post, compensation: { ...post, method: 'POST' } }
    expect(warningsFor(withStep(same))).toEqual([
      { pointer: '/steps/0/compensation/url', detail: 'the compensation is the same request as the action' },
    ])
    expect(warningsFor(withStep({ ...same, compensation: { ...post, method: 'DELETE' } }))).toEqual([])
  })

  test('an attempt that may take longer than the whole saga, at the step or at its own time-out', () => {
    const document = sketch(['a', { name: 'b', timeoutMs: 2_000 }, { name: 'c', timeoutMs: 1_000 }], {
      deadlineMs: 1_000,
    })
    expect(warningsFor(document)).toMatchObject([
      { pointer: '/steps/0', detail: expect.stringContaining('may take 30000 ms') },
      { pointer: '/steps/1/timeoutMs', detail: expect.stringContaining('may take 2000 ms') },
    ])
  })

  test('a wait that may take longer than the whole saga', () => {
    const document = sketch(
      [
        { name: 'cool', ...delay },
        { name: 'approve', ...signal },
      ],
      { deadlineMs: 999 },
    )
    expect(warningsFor(document)).toMatchObject([
      { pointer: '/steps/0', detail: expect.stringContaining('may take 1000 ms') },
      { pointer: '/steps/1/timeoutMs', detail: expect.stringContaining('may take 1000 ms') },
    ])
  })

  test('a compensation after the pivot, which can never run (S14)', () => {
    const detail = (step: string) =>
      `step "${step}" comes after the pivot "b": this compensation can never run`
    expect(warningsFor(sketch(['a', { name: 'b', pivot: true }, 'c', 'd']))).toEqual([
      { pointer: '/steps/2/compensation', detail: detail('c') },
      { pointer: '/steps/3/compensation', detail: detail('d') },
    ])
  })

  test('but no missing compensation from the pivot on, and none of a wait', () => {
    const bare = (name: string) => ({ name, compensation: undefined })
    const pivot = { ...bare('charge'), pivot: true }
    const waits = [
      { name: 'cool', ...delay },
      { name: 'approve', ...signal },
    ]
    expect(warningsFor(sketch([...waits, pivot, bare('ship'), bare('mail')]))).toEqual([])
    expect(warningsFor(sketch([bare('reserve'), pivot, bare('ship')]))).toMatchObject([
      { pointer: '/steps/0' },
    ])
  })

  test('but not the compensation of the last step: a cancel may arrive while it is under way (S25)', () => {
    expect(warningsFor(sketch(['reserve', 'charge']))).toEqual([])
  })
})

test('whatever the document, the check answers, and every place it names is in the document or just missing from it', () => {
  const names = fc.constantFrom('a', 'b', 'input', 'constructor', '1')
  const call = fc.oneof(
    fc.constant({ type: 'handler' }),
    fc.constant(post),
    fc.constant(delay.action),
    fc.constant(signal.action),
    fc.jsonValue(),
  )
  const policy = fc.oneof(fc.constant({}), fc.constant({ maxDelayMs: 1 }), fc.jsonValue())
  const step = fc.record(
    {
      name: names,
      action: call,
      compensation: call,
      retry: policy,
      compensateWhen: fc.constantFrom('completed', 'never'),
      timeoutMs: fc.constantFrom(1_000, 0),
      pivot: fc.boolean(),
    },
    { requiredKeys: ['name', 'action'] },
  )
  const document = fc.record(
    {
      name: names,
      steps: fc.array(step, { maxLength: 4 }),
      defaults: fc.record({ retry: policy }),
      deadlineMs: fc.nat(50_000),
    },
    { requiredKeys: ['name', 'steps'] },
  )
  const law = fc.property(
    fc.oneof({ weight: 4, arbitrary: document }, { weight: 1, arbitrary: fc.jsonValue() }),
    (drawn) => {
      const json: Json = JSON.parse(JSON.stringify(drawn))
      const checked = checkDefinition(json)
      for (const { pointer, detail } of checked.ok ? checked.warnings : checked.problems) {
        const isMissing = /received undefined|discriminator|^missing/.test(detail)
        const place = isMissing ? pointer.slice(0, pointer.lastIndexOf('/')) : pointer
        expect([place, at(json, place)]).not.toEqual([place, undefined])
      }
    },
  )
  fc.assert(law, { numRuns: 500 })
})

function at(document: Json, pointer: string): unknown {
  const path = pointer.split('/').slice(1)
  return path.reduce((value: unknown, token) => {
    const key = token.replaceAll('~1', '/').replaceAll('~0', '~')
    const inside = new Map(typeof value === 'object' && value !== null ? Object.entries(value) : [])
    return inside.get(key)
  }, document)
}

describe('a service and a path in place of a URL', () => {
  const service = (more: Record<string, Json>) =>
    withStep({ action: { type: 'http', service: 'payments', ...more } })

  test.each(['/', '/charges', '/charges/${{ input.id }}?at=${{ input.at }}', '/a//b/', '/...', '/?x=..'])(
    '%s is accepted',
    (path) => {
      expect(problemsIn(service({ path }))).toEqual([])
    },
  )

  test.each([
    ['', 'does not begin with "/"'],
    ['charges', 'does not begin with "/"'],
    ['https://evil/', 'does not begin with "/"'],
    ['${{ input.path }}', 'does not begin with "/"'],
    ['//evil/charges', 'another host'],
    ['/\\evil', 'remove it'],
    ['/a#b', 'remove it'],
    ['/a b', 'percent-encode it'],
    ['/ä', 'percent-encode it'],
    ['/a/../../b', 'leads elsewhere'],
    ['/a/.', 'leads elsewhere'],
    ['/%2e%2E/b', 'leads elsewhere'],
    ['/.%2e/b', 'leads elsewhere'],
  ])('%j is refused', (path, detail) => {
    expect(problemsIn(service({ path }))).toEqual([
      { pointer: '/steps/0/action/path', detail: expect.stringContaining(detail) },
    ])
  })

  test.each<[string, Record<string, Json>, string]>([
    ['neither', { type: 'http' }, '/steps/0/action/url'],
    ['a service without a path', { type: 'http', service: 'payments' }, '/steps/0/action/path'],
    ['a path without a service', { type: 'http', path: '/' }, '/steps/0/action/url'],
    ['a URL and a service', { ...post, service: 'payments' }, '/steps/0/action/service'],
    ['a URL and a path', { ...post, path: '/' }, '/steps/0/action/path'],
    ['a name that is none', { type: 'http', service: 'pay ments', path: '/' }, '/steps/0/action/service'],
  ])('%s is refused', (_, action, pointer) => {
    expect(problemsIn(withStep({ action })).map((problem) => problem.pointer)).toEqual([pointer])
  })

  test('holds for compensations, too', () => {
    expect(
      problemsIn(withStep({ compensation: { type: 'http', service: 'a', path: '/..', timeoutMs: 5 } })),
    ).toMatchObject([{ pointer: '/steps/0/compensation/path' }])
    expect(
      problemsIn(withStep({ compensation: { type: 'http', service: 'a', path: '/', timeoutMs: 5 } })),
    ).toEqual([])
  })

  test('the same service and path for both directions is a warning at the path', () => {
    const same = { type: 'http', service: 'a', path: '/' }
    expect(warningsFor(withStep({ action: same, compensation: same }))).toMatchObject([
      { pointer: '/steps/0/compensation/path' },
    ])
    expect(warningsFor(withStep({ action: same, compensation: { ...same, path: '/undo' } }))).toEqual([])
  })
})

describe('a probe', () => {
  const probed = (probe: Json) => withStep({ action: { ...post, probe } })
  const undoProbed = (probe: Json) =>
    withStep({ compensation: { ...post, url: 'https://pay.example/refund', probe } })
  const get = { type: 'http', url: 'https://pay.example/charges/${{ saga.idempotencyKey }}' }

  test('is accepted in both directions, with expressions over the answer', () => {
    const probe = {
      ...get,
      timeoutMs: 5_000,
      happened: 'answer.status == 200',
      result: '${{ answer.body.charge }}',
    }
    expect(problemsIn(probed({ ...probe, willNotHappen: 'answer.body.fenced' }))).toEqual([])
    expect(problemsIn(undoProbed({ ...get, url: 'https://pay.example/${{ result.id }}' }))).toEqual([])
  })

  test.each<[string, Record<string, Json>, string]>([
    ['another method', { method: 'DELETE' }, '/method'],
    ['an unknown field', { retry: {} }, '/retry'],
    ['a handler', { type: 'handler' }, '/type'],
    ['a body in a GET', { body: {} }, '/body'],
    ['an unknown variable in its URL', { url: 'https://pay.example/${{ result.id }}' }, '/url'],
    ['an unknown variable in a header', { headers: { 'x-id': '${{ answer.body }}' } }, '/headers/x-id'],
    ['a number for a condition', { happened: 'answer.status + 1' }, '/happened'],
    ['an expression that does not parse', { willNotHappen: 'answer.' }, '/willNotHappen'],
    ['a failure that an action does not know of', { happened: 'failure.step == "a"' }, '/happened'],
    ['an unknown variable in the result', { result: { id: '${{ reply.id }}' } }, '/result/id'],
    ['a header of the engine', { headers: { 'Saga-Probe': 'x' } }, '/headers/Saga-Probe'],
  ])('is refused with the place for %s', (_, more, pointer) => {
    expect(problemsIn(probed({ ...get, ...more })).map((problem) => problem.pointer)).toEqual([
      `/steps/0/action/probe${pointer}`,
    ])
  })

  test('is refused for reading the result of a step that has not run by then', () => {
    const document = sketch([
      { name: 'charge', action: { ...post, probe: { ...get, happened: 'context.ship.ok' } } },
      { name: 'ship', compensation: { ...post, probe: { ...get, happened: 'context.nowhere.ok' } } },
    ])
    expect(problemsIn(document)).toEqual([
      { pointer: '/steps/0/action/probe', detail: expect.stringContaining('context.ship') },
      { pointer: '/steps/1/compensation/probe', detail: expect.stringContaining('no step "nowhere"') },
    ])
  })

  test.each(['handler', 'delay'])('stands on no %s', (type) => {
    const action = type === 'delay' ? { type, delayMs: 5, probe: get } : { type, probe: get }
    expect(problemsIn(withStep({ action, compensation: undefined })).map(({ pointer }) => pointer)).toEqual([
      '/steps/0/action/probe',
    ])
  })
})
