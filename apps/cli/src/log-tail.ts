import fs from 'node:fs'
import { z } from 'zod'

/** The last lines of a log, for a person: why a child died is mostly said there. */

const LINES = 8
const BYTES = 16 * 1024

/** What was written to the file after `from`, at most the last lines of it. */
export function readTail(file: string, from = 0): string[] {
  const log = fs.openSync(file, 'r')
  try {
    const { size } = fs.fstatSync(log)
    const start = Math.max(from, size - BYTES)
    const buffer = Buffer.alloc(Math.max(0, size - start))
    fs.readSync(log, buffer, 0, buffer.length, start)
    const lines = buffer.toString('utf8').split('\n')
    if (start > from) lines.shift() // begins in the middle
    return lines
      .filter((line) => line.trim() !== '')
      .slice(-LINES)
      .map(readable)
  } finally {
    fs.closeSync(log)
  }
}

const PinoLine = z.object({
  level: z.union([z.number(), z.string()]),
  time: z.union([z.number(), z.string()]).optional(),
  msg: z.string().optional(),
  err: z.object({ message: z.string() }).optional(),
})

const LEVELS: Record<string, string> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
}

/** A line of JSON as a sentence; any other as it is. */
export function readable(line: string): string {
  const parsed = PinoLine.safeParse(parse(line))
  if (!parsed.success) return line
  const { level, time, msg, err } = parsed.data
  const at = time === undefined ? '' : `${new Date(time).toISOString().slice(11, 19)} `
  const text = [msg, err?.message]
    .filter((part, index, all) => part && all.indexOf(part) === index)
    .join(': ')
  return `${at}${LEVELS[String(level)] ?? level} ${text}`
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
