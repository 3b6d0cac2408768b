import { readFileSync } from 'node:fs'
import { Name, pointerTo } from '@backstitch/core'
import { z } from 'zod'
import { type BreakerOptions, DEFAULT_BREAKER } from './attempt/breaker.ts'

/**
 * Services by name, as an environment configures them: definitions hold no address and no secret. Secrets stand in the
 * environment or in files and are read once, when the worker is made.
 */

const Secret = z.union(
  [
    z.string().min(1).max(8192),
    z.strictObject({ env: z.string().min(1) }),
    z.strictObject({ file: z.string().min(1) }),
  ],
  'is neither a text, nor {"env": "NAME"}, nor {"file": "/path"}',
)

/** Those that say what the attempt is, or that belong to the connection, are nobody's to configure. */
const TAKEN =
  /^(host|content-length|content-type|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|idempotency-key|correlation-id|traceparent|tracestate|saga-.*)$/i

const Headers = z.record(
  z
    .string()
    .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/, 'is not a valid name of an HTTP header')
    .refine((name) => !TAKEN.test(name), 'is set by the engine; remove it'),
  Secret,
)

const Ms = z.int().min(1).max(86_400_000)

const Breaker = z
  .strictObject({
    failureRatio: z.number().gt(0).max(1),
    minCalls: z.int().min(1).max(100),
    windowMs: Ms,
    openMs: Ms,
    maxOpenMs: Ms,
    trials: z.int().min(1).max(100),
  })
  .partial()

const ServiceConfig = z.strictObject({
  /** Of all paths: `https://payments.internal/v2`. */
  baseUrl: z.string().max(2048).refine(isBaseUrl, {
    message: 'is not an absolute http or https URL without user name, password, query and fragment',
  }),
  /** Sent with each request, in place of a definition's headers of the same names. */
  headers: Headers.optional(),
  /** Signs each request: docs/guides/participants.md. */
  sign: z.strictObject({ secret: Secret }).optional(),
  /** Calls at once from one worker. Default: a quarter of the worker's concurrency. */
  concurrency: z.int().min(1).max(100_000).optional(),
  /** An attempt whose turn is further away, at the present pace, does not wait for it in the worker. Default: 250. */
  maxWaitMs: z.int().min(0).max(60_000).optional(),
  /** `false`: none. */
  breaker: z.union([z.literal(false), Breaker]).optional(),
})
export type ServiceConfig = z.input<typeof ServiceConfig>
export type ServicesConfig = Readonly<Record<string, ServiceConfig>>

/** A service with its secrets in place. Nothing of it may be shown. */
export type ServiceSettings = {
  name: string
  baseUrl: string
  headers: Readonly<Record<string, string>>
  signingSecret: string | undefined
  /** What must not be seen in any error's text. */
  secrets: readonly string[]
  concurrency: number | undefined
  maxWaitMs: number | undefined
  breaker: BreakerOptions | undefined
}

/** All services, or one sentence for each thing that is wrong. None of them says a secret's value. */
export function readServices(
  document: unknown,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): { ok: true; services: ServiceSettings[]; config: ServicesConfig } | { ok: false; problems: string[] } {
  const parsed = z.record(Name, ServiceConfig).safeParse(document)
  if (!parsed.success) {
    const problems = parsed.error.issues.flatMap((issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys.map(
            (key) => `${pointerTo([...issue.path, key])}: unknown field; remove it or check its spelling`,
          )
        : [`${pointerTo(issue.path) || 'the document'}: ${wordsOf(issue)}`],
    )
    return { ok: false, problems }
  }
  const problems: string[] = []
  const services = Object.entries(parsed.data).map(([name, config]): ServiceSettings => {
    const secrets: string[] = []
    function reveal(secret: z.infer<typeof Secret>, pointer: string): string {
      if (typeof secret === 'string') return secret
      const read = 'env' in secret ? fromEnvironment(secret.env, environment) : fromFile(secret.file)
      if (read.ok) secrets.push(read.value)
      else problems.push(`${pointer}: ${read.problem}`)
      return read.ok ? read.value : ''
    }
    const headers: Record<string, string> = {}
    for (const [header, secret] of Object.entries(config.headers ?? {})) {
      const pointer = pointerTo([name, 'headers', header])
      const value = reveal(secret, pointer)
      if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
        problems.push(`${pointer}: has a character no HTTP header may carry`)
      headers[header.toLowerCase()] = value
    }
    const signingSecret = config.sign && reveal(config.sign.secret, pointerTo([name, 'sign', 'secret']))
    if (signingSecret !== undefined && typeof config.sign?.secret === 'string') secrets.push(signingSecret)
    const breaker = config.breaker === false ? undefined : { ...DEFAULT_BREAKER, ...present(config.breaker) }
    if (breaker !== undefined && breaker.maxOpenMs < breaker.openMs) {
      problems.push(
        `${pointerTo([name, 'breaker', 'maxOpenMs'])}: is ${breaker.maxOpenMs}, less than openMs (${breaker.openMs}), counting the defaults`,
      )
    }
    const { concurrency, maxWaitMs } = config
    const baseUrl = config.baseUrl.replace(/\/+$/, '')
    return { name, baseUrl, headers, signingSecret, secrets, concurrency, maxWaitMs, breaker }
  })
  return problems.length > 0 ? { ok: false, problems } : { ok: true, services, config: parsed.data }
}

type Revealed = { ok: true; value: string } | { ok: false; problem: string }

function fromEnvironment(name: string, environment: Readonly<Record<string, string | undefined>>): Revealed {
  const value = environment[name]
  if (value === undefined || value === '') {
    return { ok: false, problem: `the environment variable ${name} is not set` }
  }
  return { ok: true, value }
}

function fromFile(path: string): Revealed {
  try {
    // An editor, and `kubectl create secret --from-file`, leave a line's end.
    const value = readFileSync(path, 'utf8').replace(/\r?\n$/, '')
    return value === '' ? { ok: false, problem: `the file ${path} is empty` } : { ok: true, value }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
    return { ok: false, problem: `the file ${path} cannot be read (${code})` }
  }
}

/** Zod's message for a key that is refused says nothing of why. */
function wordsOf(issue: z.core.$ZodIssue): string {
  return issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message
}

function present(breaker: z.infer<typeof Breaker> = {}): Partial<BreakerOptions> {
  return Object.fromEntries(Object.entries(breaker).filter(([, value]) => value !== undefined))
}

function isBaseUrl(text: string): boolean {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) return false
  return (
    url.username === '' &&
    url.password === '' &&
    url.search === '' &&
    url.hash === '' &&
    !/[?#\\\s]/.test(text)
  )
}
