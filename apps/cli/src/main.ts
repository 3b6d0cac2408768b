#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { LocalPostgresError } from '@backstitch/local-postgres'
import { ChildDied } from './child.ts'
import { ConfigError, loadConfig } from './config.ts'
import { demo } from './demo.ts'
import { MigrationFailed } from './migrate.ts'
import { Narrator } from './narrator.ts'
import { order, type Play, plays } from './play.ts'
import { PortError } from './port.ts'

const USAGE = `backstitch demo [order | trip] [--once]

  Runs a whole Backstitch on this machine: Postgres, the API, two workers and the services of an example. Then tells
  some stories, and stays up. With --once it ends after them, with status 0 only if all ended as they should.

  order              four steps, and a worker that is killed; this one if none is named
  trip               all that a definition can say: parallel steps, callbacks, an approval, a saga in a saga, a pivot

  HOST, PORT         where the API listens; 127.0.0.1 and 8080. Port 0 is any free one
  DATABASE_URL       a Postgres of yours; an embedded one if it is not set
  LOG_LEVEL          of the processes, whose logs are in .backstitch/logs; info
  SLOW_CARRIER_MS    how long the slow carrier of the third story takes; 3000
  NO_COLOR           no colours, whatever the terminal
`

class UsageError extends Error {
  override readonly name = 'UsageError'
}

function readArguments(): { help: boolean; once: boolean; play: Play } {
  const options = {
    once: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  } as const
  try {
    const { values, positionals } = parseArgs({ options, allowPositionals: true })
    const [command = 'help', name = order.name, ...more] = positionals
    const play = plays.find((one) => one.name === name)
    if ((command !== 'demo' && command !== 'help') || play === undefined || more.length > 0) {
      throw new UsageError(`there is no command "${positionals.join(' ')}"`)
    }
    return { help: values.help || command === 'help', once: values.once, play }
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message)
    throw error
  }
}

async function main(): Promise<number> {
  const { help, once, play } = readArguments()
  if (help) {
    process.stdout.write(USAGE)
    return 0
  }
  const config = loadConfig(process.env)
  // In a pipe it is not false but missing, whatever its type says.
  const colour = Boolean(process.stdout.isTTY) && !config.noColour && process.env.TERM !== 'dumb'
  const narrator = new Narrator((text) => process.stdout.write(text), colour)
  return await demo({ config, play, once, narrator })
}

/** Errors with a sentence for whoever started us. Of any other the stack is shown: it is a bug. */
const MEANT_FOR_PEOPLE = [UsageError, ConfigError, PortError, ChildDied, MigrationFailed, LocalPostgresError]

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error instanceof UsageError) return `${error.message}\n\n${USAGE}`
  return MEANT_FOR_PEOPLE.some((kind) => error instanceof kind)
    ? error.message
    : (error.stack ?? error.message)
}

main().then(
  (status) => process.exit(status),
  (error: unknown) => {
    process.stderr.write(`\nbackstitch: ${explain(error)}\n`)
    process.exit(1)
  },
)
