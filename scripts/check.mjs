// The one command that says yes or no: format, lint, types, dead code, architecture. "--fix" repairs what it can.
// Run it as `npm run check` or `npm run fix`, which find the right Node first.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const fix = process.argv.includes('--fix')
const script = (name, file) => path.join(root, 'node_modules', name, file)

const steps = [
  // What the API says of itself, written down; a test compares the two.
  ...(fix ? [{ name: 'OpenAPI snapshot', args: [path.join(root, 'apps/api/src/openapi-main.ts')] }] : []),
  {
    name: 'format and lint',
    args: [
      script('@biomejs/biome', 'bin/biome'),
      'check',
      '--error-on-warnings',
      '--colors=force',
      ...(fix ? ['--write'] : []),
    ],
  },
  { name: 'lint with types', args: [script('oxlint', 'bin/oxlint'), ...(fix ? ['--fix'] : [])] },
  ...typeScriptProjects().map((project) => ({
    name: `types of ${path.relative(root, project)}`,
    args: [script('typescript', 'bin/tsc'), '--project', project, '--pretty'],
    checksOnly: true,
  })),
  { name: 'dead code', args: [script('knip', 'bin/knip.js'), '--no-config-hints'], checksOnly: true },
  {
    name: 'architecture',
    args: [script('vitest', 'vitest.mjs'), 'run', '--project=standalone', 'tests/architecture.test.ts'],
    checksOnly: true,
  },
]

/** Every tsconfig*.json but the base, so that a new package is checked from its first day. */
function typeScriptProjects() {
  const folders = [root, path.join(root, 'tests'), path.join(root, 'bench')]
  for (const group of ['packages', 'apps', 'examples']) {
    for (const name of fs.readdirSync(path.join(root, group))) folders.push(path.join(root, group, name))
  }
  return folders
    .filter((folder) => fs.existsSync(folder) && fs.statSync(folder).isDirectory())
    .flatMap((folder) => fs.readdirSync(folder).map((name) => path.join(folder, name)))
    .filter((file) => /^tsconfig(\.(?!base\.)[a-z]+)?\.json$/.test(path.basename(file)))
}

function run({ args }) {
  return new Promise((resolve) => {
    const started = performance.now()
    const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (output += chunk))
    child.on('close', (code) => {
      resolve({ ok: code === 0, output, seconds: (performance.now() - started) / 1000 })
    })
  })
}

const wanted = steps.filter((step) => !fix || !step.checksOnly)
const failed = []
const one = async (step) => {
  const { ok, output, seconds } = await run(step)
  if (!ok) {
    failed.push(step.name)
    process.stdout.write(`\n${output.trimEnd()}\n\n`)
  }
  process.stdout.write(`${ok ? 'ok    ' : 'FAILED'}  ${seconds.toFixed(1).padStart(4)} s  ${step.name}\n`)
}
if (fix) {
  for (const step of wanted) await one(step) // two tools must not write the same file at once
} else {
  const queue = [...wanted]
  const lane = async () => {
    for (let step = queue.shift(); step; step = queue.shift()) await one(step)
  }
  await Promise.all([lane(), lane(), lane()])
}
process.stdout.write(failed.length === 0 ? '\nAll good.\n' : `\nFailed: ${failed.join(', ')}.\n`)
process.exitCode = failed.length === 0 ? 0 : 1
