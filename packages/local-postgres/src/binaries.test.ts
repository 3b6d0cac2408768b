import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { canReach } from './account.ts'
import { repairLibraryLinks } from './binaries.ts'

function temporaryFolder(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'binaries-'))
  onTestFinished(() => fs.rmSync(folder, { recursive: true }))
  return folder
}

test('library links that an install script should have made are made, those that are there are left', () => {
  const native = path.join(temporaryFolder(), 'native')
  fs.mkdirSync(path.join(native, 'lib'), { recursive: true })
  fs.writeFileSync(path.join(native, 'lib', 'libpq.so.5.18'), 'the library')
  const link = (target: string) => ({ source: 'native/lib/libpq.so.5.18', target: `native/lib/${target}` })
  fs.writeFileSync(
    path.join(native, 'pg-symlinks.json'),
    JSON.stringify([link('libpq.so'), link('libpq.so.5')]),
  )
  fs.writeFileSync(path.join(native, 'lib', 'libpq.so.5'), 'a copy')
  repairLibraryLinks(native)
  repairLibraryLinks(native)
  expect(fs.readlinkSync(path.join(native, 'lib', 'libpq.so'))).toBe('libpq.so.5.18')
  expect(fs.readFileSync(path.join(native, 'lib', 'libpq.so.5'), 'utf8')).toBe('a copy')
})

test('a file is out of reach of another account when any folder above it is closed', () => {
  const folder = temporaryFolder()
  const file = path.join(folder, 'open', 'postgres')
  fs.mkdirSync(path.dirname(file))
  fs.writeFileSync(file, '', { mode: 0o755 })
  const nobody = { name: 'nobody', uid: 65_534, gid: 65_534 }
  fs.chmodSync(folder, 0o755)
  expect(canReach(nobody, file)).toBe(true)
  fs.chmodSync(folder, 0o700)
  expect(canReach(nobody, file)).toBe(false)
})
