import { readAllowed } from '@backstitch/addresses'
import { z } from 'zod'

/** The worker's whole configuration: environment variables, all checked at once. */
const Environment = z.object({
  DATABASE_URL: z.string().regex(/^postgres(ql)?:\/\//, 'must be the address of a database, postgres://…'),
  /** Modules with an export `sagas`, separated by commas. */
  SAGAS: list(),
  /** Queues to serve beside those of SAGAS, separated by commas. */
  QUEUES: list('default'),
  /** A JSON file that says where services are, and what they are to be called with. */
  SERVICES: z.string().optional(),
  CONCURRENCY: z.coerce.number().int().min(1).max(100_000).default(200),
  LEASE_MS: z.coerce.number().int().min(1_000).max(3_600_000).default(30_000),
  POLL_MS: z.coerce.number().int().min(10).max(60_000).default(500),
  GRACE_MS: z.coerce.number().int().min(0).max(3_600_000).default(25_000),
  /** Where participants reach the API, for the address of a callback; none is sent if absent. */
  PUBLIC_URL: z
    .string()
    .regex(/^https?:\/\/[^/?#@]+(\/[^?#]*)?$/, 'must be an http or https address, without user name or query')
    .optional(),
  /** Where webhooks may be told although it is inside: ranges of addresses, addresses, names of hosts, separated by commas. */
  WEBHOOK_ALLOW: list().superRefine((texts, context) => {
    const read = readAllowed(texts)
    if (!read.ok) context.addIssue({ code: 'custom', message: read.problems.join('; ') })
  }),
  HOST: z.string().min(1).default('127.0.0.1'),
  /** Where /livez, /readyz and /metrics are served; none if absent, any free port if 0. */
  HEALTH_PORT: z.coerce.number().int().min(0).max(65_535).optional(),
  /** Where this process serves the API, too; none if absent, any free port if 0. */
  API_PORT: z.coerce.number().int().min(0).max(65_535).optional(),
  /** Requests that such an API answers at once; more are told to come again. */
  MAX_REQUESTS: z.coerce.number().int().min(1).max(9_999_999).default(5_000),
  /** Where such an API is seen from outside, behind a proxy: "/tools/backstitch". */
  BASE_PATH: z
    .string()
    .regex(/^(\/[\w.~-]+)+$/, 'must be a path such as /tools/backstitch, without a slash at its end')
    .default(''),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
})
export type Config = z.infer<typeof Environment>

function list(absent = '') {
  return z
    .string()
    .transform((text) =>
      text
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== ''),
    )
    .prefault(absent)
}

/** The configuration, or one sentence for each variable that is wrong. An empty variable is an absent one. */
export function readConfig(
  environment: NodeJS.ProcessEnv,
): { ok: true; config: Config } | { ok: false; problems: string[] } {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''))
  const parsed = Environment.safeParse(given)
  if (parsed.success) return { ok: true, config: parsed.data }
  return {
    ok: false,
    problems: parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`),
  }
}
