import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { beforeEach, expect, test } from 'vitest'
import { takeSlot } from './slot.ts'

let home: string

beforeEach(() => {
  home = fs.mkdtempSync(path.join(os.tmpdir(), 'backstitch-slot-'))
  return () => fs.rmSync(home, { recursive: true })
})

test('the first has the plain names, the next directories of its own', () => {
  const [first, second] = [takeSlot(home), takeSlot(home)]
  expect(first.postgres).toBe(path.join(home, 'postgres'))
  expect(second.postgres).toBe(path.join(home, 'postgres-2'))
  expect(second.logs).toBe(path.join(home, 'logs-2'))
})

test('a slot given back is taken again, and giving back twice harms nobody', () => {
  const first = takeSlot(home)
  first.release()
  const next = takeSlot(home)
  expect(next.number).toBe(1)
  first.release()
  expect(takeSlot(home).number).toBe(2)
})

test('a slot whose holder died without a word is taken again', () => {
  const program = `const { takeSlot } = await import(${JSON.stringify(import.meta.resolve('./slot.ts'))})
    console.log(takeSlot(process.argv[1]).number)`
  const dead = spawnSync(process.execPath, ['--input-type=module', '-e', program, home], { encoding: 'utf8' })
  expect(dead.stdout).toBe('1\n')
  expect(fs.existsSync(path.join(home, 'slot-1.lock'))).toBe(true)
  expect(takeSlot(home).number).toBe(1)
  expect(fs.readdirSync(home)).toEqual(['slot-1.lock'])
})
