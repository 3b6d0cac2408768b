import { type Report, round3 } from './rounds.ts'

/** A report as a table for people. */
export function tableOf({ scenario, about, rounds, contenders, ratios }: Report): string {
  const names = [...new Set(contenders.flatMap(({ figures }) => Object.keys(figures)))]
  const head = ['', ...names]
  const rows = contenders.map(({ name, figures }) => [
    name,
    ...names.map((figure) => (figure in figures ? round3(figures[figure] ?? Number.NaN) : '')),
  ])
  const ratioLines = ratios.map(
    ({ name, value, goal }) =>
      `  ${round3(value).padStart(8)}  ${name}${goal === undefined ? '' : `  (goal ${goal})`}`,
  )
  return `${scenario}: ${about} Medians of ${rounds} rounds.\n${aligned([head, ...rows])}\n${ratioLines.join('\n')}\n`
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
