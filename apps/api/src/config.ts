import { readAllowed } from '@backstitch/addresses'
import { z } from 'zod'
import { DEFAULT_LIMITS } from './plugins/overload.ts'

/** The API's whole configuration: environment variables, all checked at once. */
const Environment = z.object({
  DATABASE_URL: z
    .string('must be set to the address of a database, postgres://user:password@host:5432/database')
    .refine(
      isPostgresUrl,
      'is not the address of a database; write postgres://user:password@host:5432/database',
    ),
  HOST: z.string().min(1).default('127.0.0.1'),
  /** Any free one if 0. */
  PORT: z
    .string()
    .regex(/^\d{1,5}$/, 'is not a port; write a number from 0 to 65535')
    .transform(Number)
    .refine((port) => port <= 65_535, 'is not a port; write a number from 0 to 65535')
    .default(8080),
  /** Requests that are answered at once; more are told to come again. */
  MAX_REQUESTS: z
    .string()
    .regex(/^[1-9]\d{0,6}$/, 'is not a number of requests; write one from 1 to 9999999')
    .transform(Number)
    .default(DEFAULT_LIMITS.maxRequests),
  /** Where this is seen from outside, behind a proxy: "/tools/backstitch". */
  BASE_PATH: z
    .string()
    .regex(
      /^(\/[\w.~-]+)+$/,
      'is not a path; write one such as /tools/backstitch, without a slash at its end',
    )
    .default(''),
  /** Where webhooks may be told although it is inside: "10.0.0.0/8,hooks.internal". The workers are to be told the same. */
  WEBHOOK_ALLOW: z
    .string()
    .transform((text) =>
      text
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== ''),
    )
    .superRefine((texts, context) => {
      const read = readAllowed(texts)
      if (!read.ok) context.addIssue({ code: 'custom', message: `is not right: ${read.problems.join('; ')}` })
    })
    .prefault(''),
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
      error: 'is not a log level; write one of trace, debug, info, warn, error, fatal, silent',
    })
    .default('info'),
})
export type Config = z.infer<typeof Environment>

/** The configuration, or one sentence for each variable that is wrong. An empty variable is an absent one. */
export function readConfig(
  environment: NodeJS.ProcessEnv,
): { ok: true; config: Config } | { ok: false; problems: string[] } {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''))
  const parsed = Environment.safeParse(given)
  if (parsed.success) return { ok: true, config: parsed.data }
  return {
    ok: false,
    problems: parsed.error.issues.map(({ path, message }) => `${path.join('.')} ${message}`),
  }
}

function isPostgresUrl(text: string): boolean {
  return URL.canParse(text) && /^postgres(ql)?:$/.test(new URL(text).protocol)
}
