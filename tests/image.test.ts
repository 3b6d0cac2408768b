import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

/** What an image is made of: a file that the build takes and .dockerignore keeps from it is missed by nobody but who builds one. */

const linesOf = (name: string) =>
  readFileSync(new URL(`../${name}`, import.meta.url), 'utf8')
    .split('\n')
    .map((line) => line.trim())

test('everything that the Dockerfile copies from the folder is let in by .dockerignore', () => {
  const copied = linesOf('Dockerfile')
    .filter((line) => line.startsWith('COPY ') && !line.includes('--from='))
    .flatMap((line) => line.split(/\s+/).slice(1, -1))
  const letIn = linesOf('.dockerignore')
    .filter((line) => line.startsWith('!'))
    .map((line) => line.slice(1))

  expect(copied.length).toBeGreaterThan(5)
  expect([...new Set(copied)].filter((name) => !letIn.includes(name))).toEqual([])
})
