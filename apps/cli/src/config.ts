import { z } from 'zod'

/** Everything that can be set, read once. An empty variable counts as not set. */

export type Config = {
  host: string
  /** 0: any free one. */
  port: number
  /** Undefined: an embedded Postgres. */
  databaseUrl: string | undefined
  logLevel: string
  /** How long the carrier of the third story takes. */
  slowCarrierMs: number
  noColour: boolean
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

const whole = (least: number, most: number, whatItIs: string) =>
  z
    .string()
    .regex(/^\d+$/, `is not ${whatItIs}; write a number from ${least} to ${most}`)
    .transform(Number)
    .refine(
      (number) => number >= least && number <= most,
      `is out of range; write a number from ${least} to ${most}`,
    )

const Env = z.object({
  HOST: z
    .string()
    .regex(/^[\w.:-]+$/, 'is not a host name or an IP address; leave it out for 127.0.0.1')
    .default('127.0.0.1'),
  PORT: whole(0, 65_535, 'a port').default(8080),
  DATABASE_URL: z
    .string()
    .refine(
      isPostgresUrl,
      'is not the address of a Postgres; write postgres://user:password@host:5432/database',
    )
    .optional(),
  LOG_LEVEL: z.enum(LOG_LEVELS, `is not a log level; write one of ${LOG_LEVELS.join(', ')}`).default('info'),
  SLOW_CARRIER_MS: whole(1000, 10_000, 'a number of milliseconds').default(3000),
  NO_COLOR: z.string().optional(),
})

export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

export function loadConfig(variables: NodeJS.ProcessEnv): Config {
  const given = Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== ''))
  const env = Env.safeParse(given)
  if (!env.success) throw new ConfigError(complaint(env.error, given))
  const { HOST, PORT, DATABASE_URL, LOG_LEVEL, SLOW_CARRIER_MS, NO_COLOR } = env.data
  return {
    host: HOST,
    port: PORT,
    databaseUrl: DATABASE_URL,
    logLevel: LOG_LEVEL,
    slowCarrierMs: SLOW_CARRIER_MS,
    noColour: NO_COLOR !== undefined,
  }
}

/** All that is wrong at once, each with what was found; an address without what may be its password. */
function complaint({ issues }: z.ZodError, given: NodeJS.ProcessEnv): string {
  const lines = issues.map(({ path, message }) => {
    const name = String(path[0])
    const value = name === 'DATABASE_URL' ? '' : ` "${given[name]}"`
    return `  ${name}${value} ${message}`
  })
  const one = issues.length === 1
  return [
    `${one ? 'A setting is' : `${issues.length} settings are`} not right in the environment:`,
    ...lines,
  ].join('\n')
}

function isPostgresUrl(text: string): boolean {
  return URL.canParse(text) && /^postgres(ql)?:$/.test(new URL(text).protocol)
}
