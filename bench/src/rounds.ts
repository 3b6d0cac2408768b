import { median } from './load.ts'
import type { Ground } from './place.ts'
import type { Contender, Figures, Ratio, Running, Scenario, ScenarioOptions } from './scenario.ts'

export type Report = {
  scenario: string
  about: string
  rounds: number
  /** Medians over the rounds. */
  contenders: { name: string; figures: Figures }[]
  ratios: { name: string; value: number; goal?: string }[]
}

/**
 * Every contender once in every round, each round beginning with another: what the machine does meanwhile falls on all of
 * them. The first round warms up and does not count.
 */
export async function measure(
  scenario: Scenario,
  ground: Ground,
  options: ScenarioOptions & { rounds: number; only: readonly string[] | undefined },
): Promise<Report> {
  const { only, say } = options
  const rounds = scenario.once === true ? 1 : options.rounds
  const contenders = scenario
    .contenders(options)
    .filter(({ name }) => only === undefined || only.some((part) => name.includes(part)))
  const open: { contender: Contender; running: Running; rounds: Figures[] }[] = []
  try {
    for (const contender of contenders) {
      const place = await ground.database(contender.name, true)
      open.push({ contender, running: await contender.open(place), rounds: [] })
    }
    for (let round = scenario.once === true ? 1 : 0; round <= rounds; round++) {
      const turn = round % open.length
      for (const one of [...open.slice(turn), ...open.slice(0, turn)]) {
        const figures = await one.running.run()
        say(`${round === 0 ? 'warming up' : `round ${round}`}: ${one.contender.name}: ${inShort(figures)}`)
        if (round > 0) one.rounds.push(figures)
      }
    }
  } finally {
    for (const { running } of open) await running.close()
  }
  return {
    scenario: scenario.name,
    about: scenario.about,
    rounds,
    contenders: open.map(({ contender, rounds: seen }) => ({ name: contender.name, figures: medians(seen) })),
    ratios: scenario.ratios.flatMap((ratio) => ratioOf(ratio, open)),
  }
}

function medians(rounds: readonly Figures[]): Figures {
  const names = Object.keys(rounds[0] ?? {})
  return Object.fromEntries(
    names.map((name) => [name, median(rounds.map((round) => round[name] ?? Number.NaN))]),
  )
}

function ratioOf(
  { name, of, to, goal }: Ratio,
  open: readonly { contender: Contender; rounds: Figures[] }[],
): Report['ratios'] {
  const values = ([contender, figure]: Ratio['of']) =>
    open.find((one) => one.contender.name === contender)?.rounds.map((round) => round[figure] ?? Number.NaN)
  const [above, below] = [values(of), values(to)]
  if (above === undefined || below === undefined) return []
  const value = median(above.map((one, round) => one / (below[round] ?? Number.NaN)))
  return [{ name, value, ...(goal !== undefined && { goal }) }]
}

function inShort(figures: Figures): string {
  return Object.entries(figures)
    .map(([name, value]) => `${name} ${round3(value)}`)
    .join(', ')
}

export function round3(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en')
  return String(Number(value.toPrecision(3)))
}
