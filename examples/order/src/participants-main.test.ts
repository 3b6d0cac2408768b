import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { z } from 'zod'

const program = fileURLToPath(import.meta.resolve('./participants-main.ts'))
const children: ChildProcess[] = []

function start(env: NodeJS.ProcessEnv): ChildProcess {
  const child = fork(program, { env: { ...process.env, ...env }, silent: true })
  children.push(child)
  return child
}

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

test('says where it listens, and stops when told to', async () => {
  const child = start({ PORT: '0' })
  const [message] = await once(child, 'message')
  const { url } = z.object({ type: z.literal('ready'), url: z.string() }).parse(message)
  expect(await (await fetch(`${url}/ledger`)).json()).toEqual({ entries: [] })
  child.kill('SIGTERM')
  expect(await once(child, 'exit')).toEqual([0, null])
})

test('does not outlive whoever started it', async () => {
  const child = start({ PORT: '0' })
  await once(child, 'message')
  child.disconnect()
  expect(await once(child, 'exit')).toEqual([0, null])
})

test('says which setting is wrong', async () => {
  const child = start({ PORT: 'nine thousand', SLOW_CARRIER_MS: '-1' })
  let complaint = ''
  child.stderr?.on('data', (chunk: Buffer) => (complaint += chunk.toString()))
  expect(await once(child, 'close')).toEqual([1, null])
  expect(complaint).toMatch(/^PORT: .*\nSLOW_CARRIER_MS: .*\n$/)
})
