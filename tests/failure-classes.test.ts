import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'

/** docs/reference/failure-classes.md names tests: they are there, and are named after their row. */

const root = path.join(import.meta.dirname, '..')
const page = fs.readFileSync(path.join(root, 'docs/reference/failure-classes.md'), 'utf8')

type Proof = { row: string; file: string; name: string }

const rows = [...page.matchAll(/^\| (F\d\d) \|(.*)\|$/gm)].map(([, row = '', rest = '']) => ({ row, rest }))
const proofs: Proof[] = rows.flatMap(({ row, rest }) =>
  [...rest.matchAll(/`([^`]+\.test\.ts)`: \*(.+?)\*(?=<br>| )/g)].map(([, file = '', name = '']) => ({
    row,
    file,
    name,
  })),
)

/** The titles of tests and of groups of tests, as they are written. */
function titlesOf(file: string): string[] {
  const full = path.join(root, file)
  const source = fs.existsSync(full) ? fs.readFileSync(full, 'utf8') : ''
  return [...source.matchAll(/(['"`])((?:(?!\1).)+)\1,\s+(?:async )?\(/g)].map(([, , title = '']) => title)
}

test('the page has rows, each once and in order, and names tests', () => {
  const numbers = rows.map(({ row }) => row)
  expect(numbers.length).toBeGreaterThan(50)
  expect(numbers).toEqual([...new Set(numbers)].sort())
  expect(proofs.length).toBeGreaterThan(80)
  // What no test proves says so in its own words.
  expect(rows.filter(({ row }) => !proofs.some((proof) => proof.row === row)).map(({ row }) => row)).toEqual([
    'F26',
    'F42',
    'F43',
    'F44',
  ])
})

test.each(proofs)('$row: $file has "$name"', ({ row, file, name }) => {
  const titles = titlesOf(file).filter((title) => title.startsWith(name))
  expect(titles).not.toEqual([])
  expect(titles.filter((title) => title.includes(row))).not.toEqual([])
})

describe('a test that is named after a row', () => {
  const files = fs
    .globSync('{packages,apps,tests}/**/*.test.ts', { cwd: root, exclude: (name) => name === 'node_modules' })
    .filter((file) => !file.includes('node_modules'))
  // Rows of what is built at present elsewhere: versions beside each other.
  const elsewhere = ['F80']

  test('has its row on the page', () => {
    const cited = files.flatMap((file) => titlesOf(file).flatMap((title) => title.match(/\bF\d\d\b/g) ?? []))
    const known = new Set([...rows.map(({ row }) => row), ...elsewhere])
    expect(cited.length).toBeGreaterThan(50)
    expect(cited.filter((row) => !known.has(row))).toEqual([])
  })
})
