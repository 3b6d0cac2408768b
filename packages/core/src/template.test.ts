import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ACTION_SCOPE, COMPENSATION_SCOPE, compileExpression, type Scope } from './expression.ts'
import { type Json, parseJson } from './json.ts'
import {
  compileHeader,
  compileTemplate,
  compileUrl,
  MAX_URL,
  type Rendered,
  references,
  render,
  renderHeader,
  renderUrl,
  type Template,
  type TextTemplate,
} from './template.ts'

const values = {
  input: { id: 'o-1', total: 3, ok: true, none: null, items: [1, 2], customer: { name: 'Ada' } },
  context: { pay: { id: 'p 1' }, 'take-stock': { id: 't' } },
  saga: { id: 's' },
}

function compile(document: Json, scope: Scope = ACTION_SCOPE, pointer = ''): Template {
  const compiled = compileTemplate(document, scope, pointer)
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  return compiled.template
}

function problemsOf(document: Json, pointer = '') {
  const compiled = compileTemplate(document, ACTION_SCOPE, pointer)
  return compiled.ok ? [] : compiled.problems
}

type CompiledText = ReturnType<typeof compileUrl>

function text(compiled: CompiledText): TextTemplate {
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  return compiled.template
}

function rendered<T>(outcome: Rendered<T>): T {
  if (!outcome.ok) throw new Error(`${outcome.pointer}: ${outcome.detail}`)
  return outcome.value
}

const made = (document: Json, given = values): Json => rendered(render(compile(document), given))

/** JSON as it comes from outside, with its crooked keys. */
const documents = fc.jsonValue().map((value): Json => {
  const verdict = parseJson(JSON.stringify(value))
  return verdict.ok ? verdict.value : null
})

describe('a document', () => {
  test('gets values of their own type where a string is nothing but an expression', () => {
    const document = {
      id: '${{ input.id }}',
      total: '${{input.total}}',
      items: '${{ input.items }}',
      deep: [{ ok: '${{ input.ok }}', none: '${{ input.none }}', customer: '${{ input.customer }}' }],
      fixed: 1,
    }
    expect(made(document)).toEqual({
      id: 'o-1',
      total: 3,
      items: [1, 2],
      deep: [{ ok: true, none: null, customer: { name: 'Ada' } }],
      fixed: 1,
    })
  })

  test('gets text where there is text around it', () => {
    expect(made('order ${{ input.id }}: ${{ input.total }}, ${{ input.ok }}')).toBe('order o-1: 3, true')
    expect(made(' ${{ input.total }}')).toBe(' 3')
    expect(made('${{ input.total }}${{ input.total }}')).toBe('33')
    expect(made('${{ input.total / 2 }} and ${{ 1e21 * 10 }}')).toBe('1.5 and 1e+22')
  })

  test('takes no null, list or map into a text, and says where', () => {
    for (const [name, what] of [
      ['none', 'null'],
      ['items', 'a list'],
      ['customer', 'a map'],
    ]) {
      const template = compile({ a: [`x \${{ input.${name} }}`] }, ACTION_SCOPE, '/steps/0/action/body')
      expect(render(template, values)).toEqual({
        ok: false,
        pointer: '/steps/0/action/body/a/0',
        detail: `\${{ input.${name} }} gives ${what}; only strings, numbers, true and false go into a text`,
      })
    }
    expect(problemsOf({ a: 'x ${{ [1] }}' })).toEqual([
      {
        pointer: '/a',
        detail: '${{ [1] }} gives a list; only strings, numbers, true and false go into a text',
      },
    ])
  })

  test('keeps a literal ${{ that is escaped', () => {
    expect(made('$${{ input.id }}')).toBe('${{ input.id }}')
    expect(made(['$${{', { a: '$$${{ x $${{', b: '$${{ ${{ input.id }} }}' }])).toEqual([
      '${{',
      { a: '$${{ x ${{', b: '${{ o-1 }}' },
    ])
    expect(made('costs $ 5 and {{ x }} and }}')).toBe('costs $ 5 and {{ x }} and }}')
  })

  test('ends an expression at its own braces, not at those of a map, a string or a comment', () => {
    expect(made('${{ {"a": {"b": 1}} }}')).toEqual({ a: { b: 1 } })
    expect(made('${{{"a":{"b":1}}}}')).toEqual({ a: { b: 1 } })
    expect(made('${{ "}}" }}')).toBe('}}')
    expect(made('${{ \'}}\\\'}}\' + "\\"}}" }}!')).toBe('}}\'}}"}}!')
    expect(made('${{ """}}"}}""" }}')).toBe('}}"}}')
    expect(made('${{ 1 // }}\n + 1 }}')).toBe(2)
    expect(made('${{ 4 / 2 }}')).toBe(2)
  })

  test('that cannot be meant is refused with the place, all of it at once', () => {
    const document = { a: ['ok', '${{ input.id'], 'b/c': '${{ nope }}', '${{ input.id }}': 1, d: 'x ${{ }}' }
    expect(problemsOf(document, '/body')).toEqual([
      {
        pointer: '/body/a/1',
        detail: '"${{" at character 1 is never closed by "}}"; for the text itself write "$${{"',
      },
      {
        pointer: '/body/b~1c',
        detail: 'in ${{ nope }}: unknown variable "nope"; there are input, context, saga (at character 1)',
      },
      { pointer: '/body/${{ input.id }}', detail: 'a key is not a template; only values may hold ${{ … }}' },
      { pointer: '/body/d', detail: 'in ${{  }}: the expression is empty' },
    ])
    expect(problemsOf('${{ "}} ')).toHaveLength(1)
    expect(problemsOf('${{ 1 // }}')).toHaveLength(1)
  })

  test('that fails names the place and the reason', () => {
    const template = compile({ a: { b: ['${{ context.ship.id }}'] } }, ACTION_SCOPE, '/body')
    expect(render(template, values)).toEqual({
      ok: false,
      pointer: '/body/a/b/0',
      detail: '"context" has no key "ship"',
    })
  })

  test('has one budget for all its expressions', () => {
    const input = { list: Array.from({ length: 30_000 }, () => 1) }
    const one = '${{ input.list.all(x, x == 1) }}'
    expect(rendered(render(compile([one]), { input }))).toEqual([true])
    const outcome = render(compile([one, one, one, one]), { input })
    expect(outcome).toMatchObject({ ok: false, pointer: '/3' })
  })

  test('makes at most 1 MiB, at most 64 levels deep', () => {
    const input = { half: 'x'.repeat(600_000), deep: JSON.parse(`${'['.repeat(60)}${']'.repeat(60)}`) }
    expect(render(compile(['${{ input.half }}']), { input })).toMatchObject({ ok: true })
    expect(
      render(compile(['${{ input.half }}', '${{ input.half }}'], ACTION_SCOPE, '/body'), { input }),
    ).toEqual({
      ok: false,
      pointer: '/body',
      detail: 'found more than 1048576 bytes of JSON, expected no more',
    })
    expect(render(compile([[[['${{ input.deep }}']]]]), { input })).toMatchObject({ ok: true })
    expect(render(compile([[[[['${{ input.deep }}']]]]]), { input })).toMatchObject({ ok: false })
  })

  test('without an expression is returned as it is', () => {
    const document = { a: [1, 'x', { b: null }], c: 'costs $5 {{' }
    expect(made(document)).toBe(document)
    fc.assert(
      fc.property(documents, (value) => {
        fc.pre(!JSON.stringify(value).includes('${{'))
        expect(made(value)).toBe(value)
      }),
    )
  })

  test('gives any JSON value back through ${{ input }}, wherever it stands', () => {
    fc.assert(
      fc.property(documents, (input) => {
        const text = JSON.stringify(input)
        expect(JSON.stringify(rendered(render(compile('${{ input }}'), { input })))).toBe(text)
        expect(JSON.stringify(rendered(render(compile({ a: [1, '${{ input }}'] }), { input })))).toBe(
          `{"a":[1,${text}]}`,
        )
      }),
    )
  })

  test('gives any string back escaped', () => {
    const strings = fc.string({ unit: fc.constantFrom('$', '{', '}', ' ', 'x'), maxLength: 12 })
    fc.assert(
      fc.property(strings, (string) => {
        expect(made([string.replaceAll('${{', () => '$${{')])).toEqual([string])
      }),
    )
  })

  test('keeps keys such as __proto__ (F63)', () => {
    const verdict = parseJson('{"__proto__":{"constructor":"${{ input.id }}","__proto__":"$${{"}}')
    const document = verdict.ok ? verdict.value : null
    expect(JSON.stringify(made(document))).toBe('{"__proto__":{"constructor":"o-1","__proto__":"${{"}}')
    expect(Object.getPrototypeOf(made(document))).toBe(Object.prototype)
  })
})

describe('a URL', () => {
  const url = (source: string, given = values) =>
    renderUrl(text(compileUrl(source, ACTION_SCOPE, '/url')), given)
  const problems = (source: string) => {
    const compiled = compileUrl(source, ACTION_SCOPE, '/url')
    return compiled.ok ? [] : compiled.problems.map(({ detail }) => detail)
  }

  test('gets every value percent-encoded', () => {
    expect(
      rendered(
        url('http://pay:8080/payments/${{ context.pay.id }}/undo?of=${{ input.id }}&n=${{ input.total }}'),
      ),
    ).toBe('http://pay:8080/payments/p%201/undo?of=o-1&n=3')
    const input = { id: 'a/b?c=d&e#f%2f\\é' }
    expect(
      rendered(url('http://pay/${{ input.id }}?q=${{ input.id }}', { ...values, input: input as never })),
    ).toBe('http://pay/a%2Fb%3Fc%3Dd%26e%23f%252f%5C%C3%A9?q=a%2Fb%3Fc%3Dd%26e%23f%252f%5C%C3%A9')
  })

  test.each([
    '${{ input.id }}',
    '${{ input.id }}://pay/',
    'http://${{ input.id }}/',
    'http://pay${{ input.id }}/',
    'http://pay:${{ input.port }}/',
    'http://pay.${{ input.id }}/x',
    'http://user@${{ input.id }}/x',
    'http://user@pay/${{ input.id }}',
    'http://pay\\evil/${{ input.id }}',
    'ftp://pay/${{ input.id }}',
    '//pay/${{ input.id }}',
    '/${{ input.id }}',
  ])('%s is refused: scheme and host are literal', (source) => {
    expect(problems(source)[0]).toContain('scheme, host and port must be literal')
  })

  test.each([
    ['http://pay/a b/${{ input.id }}', 'holds " "'],
    ['http://pay/é/${{ input.id }}', 'holds "é"'],
    ['http://pay/${{ input.id }}#x', 'holds "#"'],
    ['http://pay/a\\${{ input.id }}', 'holds "\\\\"'],
    ['http://pay/%2${{ input.id }}', 'cut in two'],
    ['http://pay/%${{ input.id }}/x', 'cut in two'],
    ['http://pay/${{ input.id', 'never closed'],
    ['http://pay/${{ [1] }}', 'gives a list'],
  ])('%s is refused', (source, detail) => {
    expect(problems(source)[0]).toContain(detail)
  })

  test.each([
    ['http://pay/${{ input.v }}/x', '..'],
    ['http://pay/${{ input.v }}', '.'],
    ['http://pay/.${{ input.v }}/x', '.'],
    ['http://pay/%2e${{ input.v }}?a=b', '.'],
    ['http://pay/${{ input.v }}%2E', '.'],
    ['http://pay/x/${{ input.v }}${{ input.v }}', '.'],
    ['http://pay/orders/${{ input.v }}/items', ''],
    ['http://pay/orders/${{ input.v }}', ''],
    ['http://pay/orders/${{ input.v }}?all=1', ''],
  ])('%s refuses "%s", which leads elsewhere', (source, v) => {
    const outcome = url(source, { input: { v } } as never)
    expect(outcome).toMatchObject({ ok: false, pointer: '/url' })
    expect(outcome.ok ? '' : outcome.detail).toContain('of the path, which leads elsewhere')
  })

  test('may hold dots and nothing where they do no harm', () => {
    expect(
      rendered(url('http://pay/../x${{ input.v }}?a=${{ input.v }}', { input: { v: '' } } as never)),
    ).toBe('http://pay/../x?a=')
    expect(rendered(url('http://pay?a=${{ input.v }}', { input: { v: '..' } } as never))).toBe(
      'http://pay?a=..',
    )
    expect(rendered(url('http://pay/${{ input.v }}', { input: { v: '...' } } as never))).toBe(
      'http://pay/...',
    )
  })

  test('is at most 2048 characters long, and takes no null', () => {
    const v = 'x'.repeat(MAX_URL)
    expect(url('http://pay/${{ input.v }}', { input: { v } } as never)).toMatchObject({ ok: false })
    expect(url('http://pay/${{ input.none }}')).toMatchObject({ ok: false, pointer: '/url' })
  })

  test('without an expression is returned as it is', () => {
    expect(rendered(url('http://pay/a?b=c'))).toBe('http://pay/a?b=c')
  })

  test('always has its literal origin and path structure, whatever the values', () => {
    const units = fc.constantFrom(
      '.',
      '/',
      '\\',
      '?',
      '#',
      '@',
      ':',
      '%',
      '2',
      'e',
      'f',
      '&',
      '=',
      ' ',
      '\t',
      '\n',
      'é',
      '😀',
    )
    const hostile = fc.string({
      unit: fc.oneof(units, fc.string({ unit: 'grapheme', maxLength: 1 })),
      maxLength: 8,
    })
    const template = text(
      compileUrl(
        'https://pay.example:8443/a/${{ input.x }}/b-${{ input.y }}?q=${{ input.x }}&r=${{ input.y }}',
        ACTION_SCOPE,
        '',
      ),
    )
    fc.assert(
      fc.property(hostile, hostile, (x, y) => {
        const outcome = renderUrl(template, { input: { x, y } })
        expect(outcome.ok).toBe(!['', '.', '..'].includes(x))
        if (!outcome.ok) return
        const { origin, pathname, searchParams, hash, username } = new URL(outcome.value)
        expect({ origin, hash, username }).toEqual({
          origin: 'https://pay.example:8443',
          hash: '',
          username: '',
        })
        const segments = pathname.split('/').map((segment) => decodeURIComponent(segment))
        expect(segments).toEqual(['', 'a', x, `b-${y}`])
        expect([...searchParams]).toEqual([
          ['q', x],
          ['r', y],
        ])
      }),
      { numRuns: 2000 },
    )
  })
})

describe('a header', () => {
  const header = (source: string, input: Json) =>
    renderHeader(text(compileHeader(source, ACTION_SCOPE, '/headers/X-Order')), { ...values, input })

  test('is text, whatever its expressions give', () => {
    expect(rendered(header('order ${{ input.id }}', { id: 'Ä-1' }))).toBe('order Ä-1')
    expect(rendered(header('${{ input.n }}', { n: 5 }))).toBe('5')
    expect(rendered(header('plain', {}))).toBe('plain')
  })

  test.each(['a\r\nX-Evil: 1', 'a\nb', '\0', '\x7f', '\x85', '\t', '€', '😀', '\u2028'])(
    'never carries %j',
    (id) => {
      const outcome = header('order ${{ input.id }}', { id })
      expect(outcome).toMatchObject({ ok: false, pointer: '/headers/X-Order' })
      expect(outcome.ok ? '' : outcome.detail).toContain('visible Latin')
    },
  )

  test('takes no null and no more than 4096 characters', () => {
    expect(header('${{ input.id }}', { id: null })).toMatchObject({ ok: false })
    expect(header('${{ input.id }}', { id: 'x'.repeat(4097) })).toMatchObject({ ok: false })
    expect(compileHeader('${{ {} }}', ACTION_SCOPE, '/h')).toMatchObject({
      ok: false,
      problems: [{ pointer: '/h' }],
    })
  })
})

describe('the references', () => {
  test('of a template are those of all its expressions, each once', () => {
    const document = [
      '${{ context.pay.id }}',
      { a: 'x ${{ context["take-stock"].id }} ${{ context.pay.ref }}' },
      'context.ship',
    ]
    expect(references(compile(document))).toEqual({ context: ['pay', 'take-stock'] })
    expect(references(text(compileUrl('http://pay/${{ context.pay.id }}', ACTION_SCOPE, '')))).toEqual({
      context: ['pay'],
    })
    expect(references(compile({ a: 1 }))).toEqual({ context: [] })
  })

  test('of an expression are its own', () => {
    const compiled = compileExpression('has(context.pay) && result == null', COMPENSATION_SCOPE)
    expect(compiled.ok && references(compiled.expression)).toEqual({ context: ['pay'] })
  })
})
