import pc from 'picocolors'
import type { Moment } from './timeline.ts'

/**
 * Everything the demo says, line by line: nothing is ever rewritten, so it reads the same in a terminal, in a pipe and
 * in a file. 80 columns; colour only where it is wanted.
 */

const WIDTH = 80
const INDENT = '    '
/** Where the note of a moment begins. */
const NOTE_AT = 44

export type Check = { claim: string; holds: boolean; found: string }

export class Narrator {
  readonly #write: (text: string) => void
  readonly #colour: ReturnType<typeof pc.createColors>

  constructor(write: (text: string) => void, colour: boolean) {
    this.#write = write
    this.#colour = pc.createColors(colour)
  }

  title(): void {
    const { bold, dim } = this.#colour
    this.#line()
    this.#line(`  ${bold('Backstitch')} ${dim('· a durable saga orchestrator on Postgres')}`)
    this.#line()
  }

  /** Part of the installation is up. */
  up(what: string, where: string, tookMs?: number): void {
    const { green, dim } = this.#colour
    this.#line(
      `  ${green('✓')} ${what.padEnd(14)}${fit(where, 50).padEnd(50)}${dim((tookMs === undefined ? '' : seconds(tookMs)).padStart(10))}`,
    )
  }

  story(number: number, title: string, about: string): void {
    const { bold, dim, cyan } = this.#colour
    this.#line()
    const rule = '─'.repeat(Math.max(0, WIDTH - title.length - 7))
    this.#line(`  ${bold(cyan(String(number)))} ${bold(title)} ${dim(rule)}`)
    for (const line of wrap(about, WIDTH - INDENT.length)) this.#line(INDENT + dim(line))
    this.#line()
  }

  moment({ mark, what, tookMs, who = '', note = '' }: Moment): void {
    const { green, yellow, red, dim } = this.#colour
    const paint = { '✓': green, '↩': yellow, '✗': red, '!': yellow, '·': dim }[mark]
    const took = tookMs === undefined ? '' : duration(tookMs)
    const head = `${paint(mark)} ${what.padEnd(18)}${dim(took.padStart(8))}  ${dim(fit(who, 8).padEnd(8))}`
    const [first = '', ...more] = wrap(note, WIDTH - NOTE_AT)
    this.#line(`${INDENT}${head}  ${first}`)
    for (const line of more) this.#line(`${' '.repeat(NOTE_AT)}${line}`)
  }

  /** Something that happens around the saga, rather than in it. */
  aside(text: string, kind: 'plain' | 'bad' | 'good' = 'plain'): void {
    const { red, green, dim } = this.#colour
    const paint = { plain: dim, bad: red, good: green }[kind]
    for (const line of wrap(text, WIDTH - 6)) this.#line(`${INDENT}${paint(line)}`)
  }

  /** How a story ended, measured against what should be true now. */
  ending(summary: string, checks: readonly Check[]): void {
    const { green, red, bold } = this.#colour
    const broken = checks.filter(({ holds }) => !holds)
    this.#line()
    if (broken.length === 0) {
      const [first = '', ...more] = wrap(summary, WIDTH - 6)
      this.#line(`${INDENT}${bold(green('✓'))} ${bold(first)}`)
      for (const line of more) this.#line(`${INDENT}  ${bold(line)}`)
      return
    }
    this.#line(`${INDENT}${bold(red('✗ This did not end as it should have:'))}`)
    for (const { claim, found } of broken) {
      for (const line of wrap(`${claim}; found: ${found}`, WIDTH - 6)) this.#line(`${INDENT}  ${red(line)}`)
    }
  }

  /** Where to look next. A label with lines that can be copied as they are. */
  pointers(heading: string, pointers: readonly (readonly [label: string, ...lines: string[]])[]): void {
    const { bold, dim, cyan } = this.#colour
    this.#line()
    this.#line(`  ${bold(heading)}`)
    for (const [label, ...lines] of pointers) {
      this.#line()
      this.#line(`  ${dim(label)}`)
      for (const line of lines) this.#line(cyan(line))
    }
    this.#line()
  }

  /** News of our own processes. */
  news(kind: 'bad' | 'good', text: string, details: readonly string[] = []): void {
    const { red, green, dim } = this.#colour
    this.#line(`  ${kind === 'bad' ? red('✗') : green('✓')} ${text}`)
    for (const line of details) this.#line(dim(`      ${line}`))
  }

  say(text: string): void {
    this.#line(`  ${text}`)
  }

  stopped(after: string): void {
    this.#line()
    this.#line(`  Stopped in ${after}; nothing is left running.`)
  }

  #line(text = ''): void {
    this.#write(`${text.trimEnd()}\n`)
  }
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

export function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : seconds(ms)
}

function fit(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`
}

/** Breaks at spaces; a word longer than a line gets one of its own. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(/\s+/)) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else {
      line = line === '' ? word : `${line} ${word}`
    }
  }
  return [...lines, line]
}
