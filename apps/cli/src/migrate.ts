import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { readTail } from './log-tail.ts'

export class MigrationFailed extends Error {
  override readonly name = 'MigrationFailed'
}

/** Brings the database to the schema of this version, in a process of its own. Returns what was applied. */
export async function migrate(
  program: string,
  { env, logFile, signal }: { env: NodeJS.ProcessEnv; logFile: string; signal: AbortSignal },
): Promise<string[]> {
  const log = fs.openSync(logFile, 'a')
  const child = spawn(process.execPath, [program], {
    stdio: ['ignore', log, log],
    env,
    signal,
    windowsHide: true,
  })
  fs.closeSync(log)
  const status = await new Promise((resolve) => child.once('error', resolve).once('exit', resolve))
  const lines = readTail(logFile)
  if (status !== 0)
    throw new MigrationFailed(
      ['The database could not be brought to the schema of this version:', ...lines].join('\n'),
    )
  return lines.filter((line) => line.startsWith('applied ')).map((line) => line.slice('applied '.length))
}
