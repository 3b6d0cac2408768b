import { spawnSync } from 'node:child_process'
import net from 'node:net'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const program = fileURLToPath(import.meta.resolve('./main.ts'))

function backstitch(args: string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}

test('says what it can do', () => {
  expect(backstitch(['--help'])).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^backstitch demo \[order \| trip\] \[--once\]/),
  })
})

test('a command or an option that does not exist is an error, with the usage', () => {
  for (const args of [['dmeo'], ['demo', '--onec'], ['demo', 'tripp']]) {
    const { status, stderr } = backstitch(args)
    expect(status).toBe(1)
    expect(stderr).toContain(args.at(-1))
    expect(stderr).toContain('backstitch demo [order | trip] [--once]')
  }
})

test('wrong settings are all named, before anything is started', () => {
  const { status, stdout, stderr } = backstitch(['demo'], { PORT: 'x', LOG_LEVEL: 'y' })
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
  expect(stderr).toMatch(/2 settings are not right in the environment:\n {2}PORT "x" .*\n {2}LOG_LEVEL "y" /)
})

test('a port in use is one sentence, and nothing is started', async () => {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? String(address?.port) : ''
  const { status, stdout, stderr } = backstitch(['demo', '--once'], { PORT: port })
  server.close()
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
  expect(stderr).toMatch(/^\nbackstitch: Port \d+ on 127\.0\.0\.1 is in use by another program: .*\n$/)
})
