import fs from 'node:fs'
import { isBuiltin } from 'node:module'
import path from 'node:path'
import { describe, expect, test } from 'vitest'

/**
 * Who may import whom: the table of ARCHITECTURE.md, kept true. A room that is not in this table, or that has no
 * files, fails: an empty search proves nothing.
 */
type Room = { ours: string[]; mayBeAbsent?: true }

const rooms: Record<string, Room> = {
  'packages/core': { ours: [] },
  'packages/addresses': { ours: [] },
  'packages/input-schema': { ours: ['core'] },
  'packages/store': { ours: ['core'] },
  'packages/engine': { ours: ['core', 'store', 'input-schema', 'addresses'] },
  'packages/sdk': { ours: ['core'] },
  'packages/local-postgres': { ours: [] },
  'apps/api': { ours: ['core', 'store', 'input-schema', 'addresses'] },
  'apps/worker': { ours: ['core', 'store', 'engine', 'sdk', 'api', 'addresses'] },
  'apps/dashboard': { ours: ['core'], mayBeAbsent: true },
  'apps/cli': { ours: ['sdk', 'local-postgres'] },
  'examples/participants': { ours: ['sdk'] },
  'examples/order': { ours: ['sdk', 'example-participants'] },
  'examples/trip': { ours: ['sdk', 'example-participants'] },
  // Tests and benchmarks look at the whole.
  bench: { ours: ['*'], mayBeAbsent: true },
  tests: { ours: ['*'] },
}

/** The rules compute and parse, nothing else: shapes, expressions, regular expressions in linear time, calendars. */
const coreMayUse = ['zod', '@marcbachmann/cel-js', 're2js', 'croner']

/** Only these rooms speak to Postgres themselves; everybody else asks the store. */
const speakSql = ['packages/store', 'packages/local-postgres', 'tests', 'bench']
const sqlLibraries = ['pg', 'kysely']

/** A room may have one file of support for its own tests, which may ask for a database. */
const testDatabase = '@backstitch/local-postgres/testing'
const isTestSupport = (file: string) => /(^|\/)testing\.ts$/.test(file)

/** A name that says nothing about what is inside. */
const namelessName = /^(utils?|common|shared|helpers?|types|misc)$/

const root = path.resolve(import.meta.dirname, '..')
type Source = { room: string; file: string; isTest: boolean; imports: string[] }

function importsOf(code: string): string[] {
  const withoutComments = code.replace(/^\s*\/\*[\s\S]*?\*\//gm, '').replace(/^\s*\/\/.*$/gm, '')
  const forms = [
    /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^\s*import\s*['"]([^'"]+)['"]/gm,
    /\bimport\s*\(\s*['"`]([^'"`]+)['"`]/g,
    /\b(?:require|import\.meta\.resolve)\s*\(\s*['"`]([^'"`]+)['"`]/g,
  ]
  return forms.flatMap((form) => [...withoutComments.matchAll(form)].map((match) => match[1] ?? ''))
}

function filesBelow(folder: string): string[] {
  if (!fs.existsSync(folder)) return []
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (/^(node_modules|dist|coverage|\..*)$/.test(entry.name)) return []
    const full = path.join(folder, entry.name)
    if (entry.isDirectory()) return filesBelow(full)
    return /\.[cm]?[jt]sx?$/.test(entry.name) ? [full] : []
  })
}

function sourcesOf(room: string): Source[] {
  return filesBelow(path.join(root, room)).map((full) => ({
    room,
    file: path.relative(root, full).replaceAll(path.sep, '/'),
    isTest: room === 'tests' || /\.test\.[jt]sx?$/.test(full),
    imports: importsOf(fs.readFileSync(full, 'utf8')),
  }))
}

const sources = Object.keys(rooms).flatMap(sourcesOf)

/** `@scope/name/deep/file` → `@scope/name`; undefined for a path and for what comes with Node. */
function packageOf(specifier: string): string | undefined {
  if (/^[./#]|^[a-z]+:/.test(specifier) || isBuiltin(specifier)) return undefined
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

/** One line per import that `isWrong` does not like, in the form that says where to go. */
function offences(isWrong: (source: Source, specifier: string) => boolean): string[] {
  return sources.flatMap((source) =>
    source.imports
      .filter((specifier) => isWrong(source, specifier))
      .map((specifier) => `${source.file} imports ${specifier}`),
  )
}

function mayImport(room: string, name: string): boolean {
  const allowed = rooms[room]?.ours ?? []
  return allowed.includes('*') || allowed.includes(name) || name === path.basename(room)
}

describe('the search sees what it should', () => {
  test('every room of the table is there, with sources that import something', () => {
    for (const [room, { mayBeAbsent }] of Object.entries(rooms)) {
      if (mayBeAbsent && !fs.existsSync(path.join(root, room))) continue
      const found = sources.filter((source) => source.room === room)
      expect(found.length, `${room} has no sources: misspelled?`).toBeGreaterThan(0)
      expect(found.flatMap(({ imports }) => imports).length, `no imports found in ${room}`).toBeGreaterThan(0)
    }
  })

  test('every package on disk is in the table', () => {
    const onDisk = ['packages', 'apps', 'examples'].flatMap((group) =>
      fs
        .readdirSync(path.join(root, group))
        .map((name) => `${group}/${name}`)
        .filter((folder) => fs.existsSync(path.join(root, folder, 'package.json'))),
    )
    expect(onDisk.length).toBeGreaterThan(5)
    expect(onDisk.filter((folder) => !(folder in rooms))).toEqual([])
  })

  test('every way to write an import is found, and comments are not', () => {
    const code = [
      "import a from 'one'",
      "import type { B,\n  C } from 'two'",
      "import 'three'",
      "export * from 'four'",
      "export { d } from 'five'",
      "const e = await import('six')",
      "require('seven')",
      "// import f from 'eight'",
      "/* import g from 'nine' */",
    ]
    const numbers = ['one', 'two', 'three', 'four', 'five', 'six', 'seven']
    expect(importsOf(code.join('\n')).sort()).toEqual(numbers.sort())
  })
})

describe('who imports whom', () => {
  test('rooms import only the rooms they may', () => {
    const wrong = offences(({ room, file, isTest }, specifier) => {
      const name = /^@backstitch\/([^/]+)/.exec(specifier)?.[1]
      if (name === undefined || isTest || mayImport(room, name)) return false
      return !(specifier === testDatabase && isTestSupport(file))
    })
    expect(wrong).toEqual([])
  })

  test('what is there for tests is used by tests only', () => {
    const wrong = offences(({ file, isTest }, specifier) => {
      if (isTest || isTestSupport(file)) return false
      return specifier === testDatabase || (specifier.startsWith('.') && isTestSupport(specifier))
    })
    expect(wrong).toEqual([])
  })

  test('no path leads out of its own room', () => {
    const wrong = offences(({ room, file, isTest }, specifier) => {
      if (!specifier.startsWith('.') || isTest) return false
      return !path.posix.join(path.posix.dirname(file), specifier).startsWith(`${room}/`)
    })
    expect(wrong).toEqual([])
  })

  test('apps never import each other, not even by their dependencies', () => {
    const wrong = Object.keys(rooms).flatMap((room) => {
      const file = path.join(root, room, 'package.json')
      if (!fs.existsSync(file)) return []
      const manifest = JSON.parse(fs.readFileSync(file, 'utf8')) as { dependencies?: Record<string, string> }
      return Object.keys(manifest.dependencies ?? {})
        .filter(
          (name) => name.startsWith('@backstitch/') && !mayImport(room, name.slice('@backstitch/'.length)),
        )
        .map((name) => `${room}/package.json depends on ${name}`)
    })
    expect(wrong).toEqual([])
  })

  test('core uses its four libraries, and neither Node nor anything else', () => {
    const wrong = offences(({ room, isTest }, specifier) => {
      if (room !== 'packages/core' || isTest || specifier.startsWith('.')) return false
      return !coreMayUse.includes(packageOf(specifier) ?? specifier)
    })
    expect(wrong).toEqual([])
  })

  test('nothing but the store speaks to Postgres', () => {
    const wrong = offences(
      ({ room }, specifier) => !speakSql.includes(room) && sqlLibraries.includes(packageOf(specifier) ?? ''),
    )
    expect(wrong).toEqual([])
    const used = sources.filter(({ room }) => room === 'packages/store').flatMap(({ imports }) => imports)
    expect(used, 'the store no longer imports pg: is the library called something else now?').toContain('pg')
  })
})

test('every file has a name that says what is in it', () => {
  const nameless = sources.flatMap(({ file }) => {
    const parts = file.split('/').map((part) => part.replace(/\..*$/, ''))
    return parts.some((part) => namelessName.test(part)) ? [file] : []
  })
  expect(nameless).toEqual([])
})
