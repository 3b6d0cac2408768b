import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { expect, test } from 'vitest'

const bootstrap = path.resolve(import.meta.dirname, '../scripts/bootstrap.mjs')

/** Says that it is there, then each signal it gets, and ends half a second after SIGTERM. */
const child = `
  process.on('SIGTERM', () => { console.log('got SIGTERM'); setTimeout(() => process.exit(7), 500) })
  process.on('SIGINT', () => console.log('got SIGINT'))
  setInterval(() => {}, 1000)
  console.log('ready')`

type Running = { process: ChildProcessByStdio<null, Readable, null>; said: () => string }

async function run(command: string[], until: RegExp): Promise<Running> {
  const started = spawn(command[0] ?? '', command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  await new Promise<void>((resolve) => {
    started.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (until.test(output)) resolve()
    })
  })
  return { process: started, said: () => output }
}

const exec = [process.execPath, bootstrap, 'exec', 'node']

test('the command gets the right Node, and its exit status is the exit status', async () => {
  const { process: started, said } = await run(
    [...exec, '-e', 'console.log(process.version); process.exit(7)'],
    /\n/,
  )
  const [status] = await once(started, 'exit')
  expect(status).toBe(7)
  expect(said().trim()).toBe(process.version)
})

test('a SIGTERM reaches the command, which has the time to end in its own way', async () => {
  const { process: started, said } = await run([...exec, '-e', child], /ready/)
  started.kill('SIGTERM')
  const [status] = await once(started, 'exit')
  expect(status).toBe(7)
  expect(said()).toContain('got SIGTERM')
})

test('without a terminal a SIGINT is passed on, once', async () => {
  const { process: started, said } = await run([...exec, '-e', child], /ready/)
  started.kill('SIGINT')
  await expect.poll(said, { timeout: 60_000 }).toContain('got SIGINT')
  started.kill('SIGTERM')
  await once(started, 'exit')
  expect(said().match(/got SIGINT/g)).toHaveLength(1)
})

test('the command does not outlive whoever started it', async () => {
  // The shell stands for the one that npm puts in between, and ends without a word to us.
  const shell = ['sh', '-c', '"$@" & wait', 'sh']
  const { process: started, said } = await run([...shell, ...exec, '-e', child], /ready/)
  started.kill('SIGKILL')
  await expect.poll(said, { timeout: 60_000 }).toContain('got SIGTERM')
  await once(started.stdout, 'close') // nobody holds the pipe any more: all of them are gone
})

test("npm's own configuration goes no further, but for the way to the registry", async () => {
  const print =
    'console.log(Object.keys(process.env).filter((name) => /^npm_config/i.test(name)).sort().join())'
  const ofThisRun = Object.keys(process.env).flatMap((name) =>
    /^npm_config/i.test(name) ? ['-u', name] : [],
  )
  const environment = [
    'npm_config_prefix=/nowhere',
    'npm_config_registry=http://localhost',
    'npm_config_noproxy=',
  ]
  const { said } = await run(['env', ...ofThisRun, ...environment, ...exec, '-e', print], /\n/)
  expect(said().trim()).toBe('npm_config_registry')
})
