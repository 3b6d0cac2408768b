import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { Child } from './child.ts'
import type { Config } from './config.ts'
import type { Play } from './play.ts'
import { isFree } from './port.ts'
import { root } from './root.ts'
import type { Slot } from './slot.ts'
import type { Layer, Supervisor } from './supervisor.ts'

/** The processes of a whole Backstitch: API, two workers, and the participants of an example. */
export type Installation = { apiUrl: string; participantsUrl: string; workers: Child[] }

export const programs = {
  migrate: path.join(root, 'packages/store/src/migrate-main.ts'),
  api: path.join(root, 'apps/api/src/main.ts'),
  worker: path.join(root, 'apps/worker/src/main.ts'),
}

export type Site = { config: Config; play: Play; slot: Slot; databaseUrl: string; up: Up }
/** Told of each part that is up. */
export type Up = (what: string, where: string, tookMs: number) => void

const LOOPBACK = 'localhost,127.0.0.0/8,::1'

export async function install(
  supervisor: Supervisor,
  { config, play, slot, databaseUrl, up }: Site,
): Promise<Installation> {
  // Whoever is told of things is on this machine, too, unless it is said otherwise.
  const common = { WEBHOOK_ALLOW: LOOPBACK, ...ownEnvironment(), LOG_LEVEL: config.logLevel }
  const add = (layer: Layer, name: string, env: () => NodeJS.ProcessEnv) =>
    supervisor.add(layer, {
      name,
      program: layer === 'participants' ? play.participants : programs[layer],
      logFile: path.join(slot.logs, `${name.replace(' ', '-')}.log`),
      env: () => ({ ...common, ...env() }),
    })

  const signingSecret = randomBytes(32).toString('base64url')
  // What listens comes back on the port it had: others know it by then.
  let participantsPort = await rememberedPort(slot.participants)
  const participants = add('participants', 'participants', () => ({
    HOST: '127.0.0.1',
    PORT: String(participantsPort),
    LEDGER_DIR: slot.participants,
    SLOW_CARRIER_MS: String(config.slowCarrierMs),
    ...(play.services !== undefined && { PAYMENTS_SECRET: signingSecret }),
  }))
  let apiPort = config.port
  const api = add('api', 'api', () => ({
    DATABASE_URL: databaseUrl,
    HOST: config.host,
    PORT: String(apiPort),
  }))

  const startedAt = performance.now()
  const [apiUrl, participantsUrl] = (await Promise.all([api.start(), participants.start()])).map(
    ({ url = '' }) => reachable(url),
  )
  if (apiUrl === undefined || participantsUrl === undefined) throw new Error('an address is missing')
  apiPort = portOf(apiUrl)
  participantsPort = portOf(participantsUrl)
  rememberPort(slot.participants, participantsPort)
  up('api', apiUrl, performance.now() - startedAt)
  up('participants', participantsUrl, performance.now() - startedAt)

  const servicesFile = writeServices(play, participantsUrl, slot.participants)
  const workers = [1, 2].map((number) =>
    add('worker', `worker ${number}`, () => ({
      DATABASE_URL: databaseUrl,
      SAGAS: play.sagas,
      PARTICIPANTS_URL: participantsUrl,
      ...(servicesFile !== undefined && { SERVICES: servicesFile, SIGNING_SECRET: signingSecret }),
      // Where participants call back.
      PUBLIC_URL: apiUrl,
      // Less than the supervisor allows, so that it has not to insist.
      GRACE_MS: '5000',
    })),
  )
  const hiredAt = performance.now()
  await Promise.all(workers.map((worker) => worker.start()))
  up(
    'workers',
    workers.map(({ name, pid }) => `${name} (process ${pid})`).join(', '),
    performance.now() - hiredAt,
  )
  return { apiUrl, participantsUrl, workers }
}

/** Where the services are, as the workers read it: secrets are named, and stand in the environment. */
function writeServices({ services }: Play, url: string, directory: string): string | undefined {
  if (services === undefined) return undefined
  const settings = Object.entries(services.at).map(([name, at]) => {
    const sign = services.signed.includes(name) ? { sign: { secret: { env: 'SIGNING_SECRET' } } } : {}
    return [name, { baseUrl: `${url}${at}`, ...sign }]
  })
  const file = path.join(directory, 'services.json')
  fs.writeFileSync(file, `${JSON.stringify(Object.fromEntries(settings), undefined, 2)}\n`)
  return file
}

/** Logs of the last run make room for those of this one. */
export function freshLogs(directory: string): void {
  fs.mkdirSync(directory, { recursive: true })
  for (const name of fs.readdirSync(directory)) {
    if (name.endsWith('.log')) fs.renameSync(path.join(directory, name), path.join(directory, `${name}.last`))
  }
}

/** Ours, without what is meant for one of our processes only. */
export function ownEnvironment(): NodeJS.ProcessEnv {
  const { PORT: _, HOST: __, DATABASE_URL: ___, ...rest } = process.env
  return rest
}

/** The address of a server that listens everywhere, as it is reached from here. */
function reachable(url: string): string {
  const parsed = new URL(url)
  if (parsed.hostname === '0.0.0.0' || parsed.hostname === '[::]') parsed.hostname = '127.0.0.1'
  return parsed.origin
}

function portOf(url: string): number {
  return Number(new URL(url).port)
}

const portFile = (directory: string) => path.join(directory, 'port')

/**
 * The participants' port is part of the definition that is registered, and so of every saga started with it. A saga
 * left over from the last run goes on in this one, and must find them where they were.
 */
async function rememberedPort(directory: string): Promise<number> {
  const port = fs.existsSync(portFile(directory)) ? Number(fs.readFileSync(portFile(directory), 'utf8')) : 0
  return Number.isInteger(port) && port > 0 && port < 65_536 && (await isFree('127.0.0.1', port)) ? port : 0
}

function rememberPort(directory: string, port: number): void {
  fs.mkdirSync(directory, { recursive: true })
  fs.writeFileSync(portFile(directory), String(port))
}
