import { type Report, round3 } from './rounds.ts'
import type { Figures } from './scenario.ts'

const MAX_COLUMNS = 12

/** A report as a table for people. */
export function tableOf({ scenario, about, rounds, contenders, ratios }: Report): string {
  const names = [...new Set(contenders.flatMap(({ figures }) => Object.keys(figures)))]
  const cell = (figures: Figures, figure: string) =>
    figure in figures ? round3(figures[figure] ?? Number.NaN) : ''
  // What would be too wide for a terminal is turned on its side.
  const table =
    names.length <= MAX_COLUMNS
      ? [
          ['', ...names],
          ...contenders.map((one) => [one.name, ...names.map((name) => cell(one.figures, name))]),
        ]
      : [
          ['', ...contenders.map(({ name }) => name)],
          ...names.map((name) => [name, ...contenders.map((one) => cell(one.figures, name))]),
        ]
  const ratioLines = ratios.map(
    ({ name, value, goal }) =>
      `  ${round3(value).padStart(8)}  ${name}${goal === undefined ? '' : `  (goal ${goal})`}`,
  )
  return `${scenario}: ${about} Medians of ${rounds} rounds.\n${aligned(table)}\n${ratioLines.join('\n')}\n`
}

function aligned(rows: readonly (readonly string[])[]): string {
  const widths = rows.reduce<number[]>(
    (all, row) => row.map((cell, n) => Math.max(cell.length, all[n] ?? 0)),
    [],
  )
  return rows
    .map((row) =>
      row
        .map((cell, n) => (n === 0 ? cell.padEnd(widths[n] ?? 0) : cell.padStart(widths[n] ?? 0)))
        .join('  '),
    )
    .join('\n')
}
