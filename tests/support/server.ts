import { randomBytes } from 'node:crypto'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { startLocalPostgres } from '@backstitch/local-postgres'
import { scratchPlace } from '@backstitch/local-postgres/testing'

export type Server = { url: string; stop: () => Promise<void> }

/** These databases are thrown away: what guards them against a power cut is off. Never so outside tests. */
const settings = {
  fsync: false,
  full_page_writes: false,
  max_connections: 200,
  shared_buffers: '256MB',
  max_wal_size: '512MB',
}

/** TEST_DATABASE_URL, else a container where Docker answers, else the bundled Postgres. */
export async function startServer(): Promise<Server> {
  const given = process.env.TEST_DATABASE_URL
  if (given) return { url: given, stop: async () => {} }
  if (await dockerAnswers()) {
    try {
      return await startContainer()
    } catch (error) {
      const why = error instanceof Error ? error.message.split('\n')[0] : String(error)
      process.stderr.write(`Docker is there, but gave no Postgres (${why}): using the bundled one instead.\n`)
    }
  }
  const directory = path.join(scratchPlace(), `backstitch-tests-${randomBytes(6).toString('hex')}`)
  return await startLocalPostgres({ directory, settings, temporary: true })
}

async function startContainer(): Promise<Server> {
  const { PostgreSqlContainer } = await import('@testcontainers/postgresql') // a second to load: only where it is used
  const image = process.env.TEST_POSTGRES_IMAGE ?? 'postgres:18-alpine'
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const container = await new PostgreSqlContainer(image)
    .withTmpFs({ '/var/lib/postgresql': 'rw' })
    .withCommand(['postgres', ...flags])
    .start()
  return {
    url: container.getConnectionUri(),
    stop: async () => {
      await container.stop()
    },
  }
}

/** Whether anything listens where Docker usually does. */
async function dockerAnswers(): Promise<boolean> {
  const host = process.env.DOCKER_HOST
  if (host && !host.startsWith('unix://')) return true
  const sockets = host
    ? [host.slice('unix://'.length)]
    : [
        '/var/run/docker.sock',
        path.join(os.homedir(), '.docker/run/docker.sock'),
        path.join(process.env.XDG_RUNTIME_DIR ?? '/nowhere', 'docker.sock'),
      ]
  for (const socket of sockets) if (await accepts(socket)) return true
  return false
}

function accepts(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(socketPath)
    const answer = (yes: boolean) => {
      socket.destroy()
      resolve(yes)
    }
    socket.setTimeout(1000, () => answer(false))
    socket.once('connect', () => answer(true))
    socket.once('error', () => answer(false))
  })
}
