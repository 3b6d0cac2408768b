import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** A transaction-mode pooler between everybody and the database: no session holds, and no statement keeps its name. */
export type Pooler = { url: string; stop(): Promise<void> }

const PGBOUNCER = process.env.CHAOS_PGBOUNCER ?? 'pgbouncer'

/** Why this machine has none. */
export function poolerMissing(): string | undefined {
  const { error } = spawnSync(PGBOUNCER, ['--version'])
  return error === undefined ? undefined : 'pgbouncer is not installed (apt install pgbouncer)'
}

export async function startPooler(databaseUrl: string, folder: string): Promise<Pooler> {
  const { hostname, port, pathname, username, password } = new URL(databaseUrl)
  const url = new URL(databaseUrl)
  url.port = String(await freePort())
  const home = join(folder, 'pooler')
  mkdirSync(home)
  const file = join(home, 'pgbouncer.ini')
  const name = pathname.slice(1)
  const settings = [
    '[databases]',
    `${name} = host=${hostname} port=${port || 5432} user=${username} password=${password}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${url.port}`,
    'unix_socket_dir =',
    'auth_type = any',
    'pool_mode = transaction',
    'default_pool_size = 10',
    'server_login_retry = 1',
    'ignore_startup_parameters = extra_float_digits',
  ]
  writeFileSync(file, `${settings.join('\n')}\n`)
  // It refuses to be root.
  const isRoot = process.getuid?.() === 0
  if (isRoot)
    for (const [path, mode] of [
      [home, 0o755],
      [folder, 0o755],
      [file, 0o644],
    ] as const)
      chmodSync(path, mode)
  const child = spawn(PGBOUNCER, [file], { stdio: 'ignore', ...(isRoot && { uid: 65_534, gid: 65_534 }) })
  await accepting(Number(url.port))
  return {
    url: url.href,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGINT')
      setTimeout(() => child.kill('SIGKILL'), 2_000).unref()
      await gone
    },
  }
}

async function accepting(port: number): Promise<void> {
  for (let tried = 0; tried < 500; tried++) {
    const connected = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, '127.0.0.1')
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (connected) return
    await sleep(10)
  }
  throw new Error('pgbouncer does not listen')
}

export async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('a listening server has no address')
  return address.port
}
