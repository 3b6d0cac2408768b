import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'

const MODULE = fileURLToPath(new URL('./log-sink.ts', import.meta.url))

/** A process that has something to say when it is told to, and ends. */
function speaker(end: string, options = '{}') {
  const code = `
    import { pino } from 'pino'
    import { createLogSink } from ${JSON.stringify(MODULE)}
    const sink = createLogSink(${options})
    const log = pino({}, sink.stream)
    process.once('message', async () => {
      // The first is on its way, and the second waits for it.
      for (const line of ['my last words', 'but one more']) log.warn(line)
      ${end}
      process.exit(0)
    })
    process.send('ready')`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

test.each([
  ['each line by itself', '{}'],
  ['lines in thousands of bytes', '{ minLength: 8_192, periodicFlush: 60_000 }'],
])('whoever waits until all is written loses no line: %s', async (_how, options) => {
  const child = speaker('await sink.end()', options)
  let output = ''
  child.stdout?.on('data', (chunk) => {
    output += String(chunk)
  })
  await once(child, 'message')
  child.send('speak')
  await once(child, 'close')
  expect(output).toMatch(/^.*my last words.*\n.*but one more.*\n$/)
})

test('what waits to be written does not wait for more', async () => {
  const child = speaker(
    'await new Promise((resolve) => setTimeout(resolve, 15_000))',
    '{ minLength: 8_192, periodicFlush: 10 }',
  )
  let output = ''
  child.stdout?.on('data', (chunk) => {
    output += String(chunk)
  })
  await once(child, 'message')
  child.send('speak')
  await expect.poll(() => output, { timeout: 60_000 }).toMatch(/^.*my last words.*\n.*but one more.*\n$/)
})

test('a process whose log nobody reads any more ends, whether it waits or not', async () => {
  for (const end of ['', 'await sink.end()']) {
    const child = speaker(end)
    await once(child, 'message')
    child.stdout?.destroy()
    child.send('speak')
    expect(await once(child, 'exit')).toEqual([0, null])
  }
})
