import { Cron } from 'croner'
import type { JsonProblem } from './json.ts'

/**
 * Times of the calendar: five fields and a time zone in, instants out. croner computes; the door is our own, so that a
 * message names the field and nothing is accepted that is not documented.
 *
 * Where the clocks change (docs/guides/schedules.md): a cron of one minute and one hour runs once a day, at the moment of the
 * change if its time does not exist, the first time if it comes twice. Any other runs at each minute that matches, so at none
 * in the hour that does not exist and in both of the hour that comes twice.
 */
export type Timing = { at: string } | { cron: string; timeZone: string }

type Field = { name: string; least: number; most: number; names?: readonly string[]; special?: RegExp }

const FIELDS: readonly Field[] = [
  { name: 'minute', least: 0, most: 59 },
  { name: 'hour', least: 0, most: 23 },
  { name: 'day of the month', least: 1, most: 31, special: /^L$/i },
  {
    name: 'month',
    least: 1,
    most: 12,
    names: ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'],
  },
  {
    name: 'day of the week',
    least: 0,
    most: 7,
    names: ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'],
    special: /^([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)#([1-5]|L)$/i,
  },
]

export const MAX_CRON_LENGTH = 200
/** What can follow what, at the shortest: the smallest unit of a cron here. */
export const SHORTEST_INTERVAL_MS = 60_000

/** What is wrong with a cron expression or its time zone; nothing, if it can be used. */
export function cronProblems(cron: string, timeZone: string): JsonProblem[] {
  const zone = zoneProblem(timeZone)
  if (zone !== undefined) return [{ pointer: '/timeZone', detail: zone }]
  const detail = expressionProblem(cron)
  return detail === undefined ? [] : [{ pointer: '/cron', detail }]
}

function expressionProblem(cron: string): string | undefined {
  if (cron.length > MAX_CRON_LENGTH) return `has ${cron.length} characters; the most is ${MAX_CRON_LENGTH}`
  const parts = cron.split(' ')
  if (parts.length !== FIELDS.length || parts.includes('')) {
    const form = 'minute, hour, day of the month, month and day of the week, with one space between'
    return `has ${parts.filter((part) => part !== '').length} fields; write five: ${form}, such as "0 9 * * MON-FRI"`
  }
  for (const [index, field] of FIELDS.entries()) {
    for (const item of (parts[index] ?? '').split(',')) {
      const wrong = itemProblem(item, field)
      if (wrong !== undefined) return `the ${field.name}, "${parts[index]}", ${wrong}`
    }
  }
  // Only a day that no month has can keep a cron from ever running, and that is so whenever one asks.
  return nextInstant({ cron, timeZone: 'UTC' }, 0) === undefined
    ? 'never comes: no month it names has such a day'
    : undefined
}

function itemProblem(item: string, field: Field): string | undefined {
  if (field.special?.test(item) === true) return undefined
  const parts = /^(?:(\*)|(\w+)(?:-(\w+))?)(?:\/(\d{1,4}))?$/.exec(item)
  if (parts === null) return `has an item "${item}" that is not understood; ${formOf(field)}`
  const [, star, first, last, step] = parts
  const from = star === undefined ? numberOf(first ?? '', field) : field.least
  const to = star !== undefined ? field.most : last === undefined ? from : numberOf(last, field)
  if (from === undefined || to === undefined) return `has "${item}"; ${formOf(field)}`
  if (from > to) return `has "${item}", whose end comes before its beginning; write two ranges with a comma`
  if (step === undefined) return undefined
  if (star === undefined && last === undefined)
    return `has "${item}"; a step needs a range: write "${first}-${field.most}/${step}"`
  if (Number(step) < 1 || Number(step) > field.most)
    return `has the step ${step}; write one from 1 to ${field.most}`
  return undefined
}

function numberOf(text: string, { least, most, names }: Field): number | undefined {
  const named = names?.indexOf(text.toUpperCase()) ?? -1
  if (named >= 0) return named + (names?.length === 12 ? 1 : 0)
  const number = /^\d{1,2}$/.test(text) ? Number(text) : undefined
  return number !== undefined && number >= least && number <= most ? number : undefined
}

function formOf({ name, least, most, names, special }: Field): string {
  const named = names === undefined ? '' : `, or ${names[0]} to ${names.at(-1)}`
  const more =
    special === undefined ? '' : name === 'day of the month' ? ', or L for the last' : ', or MON#2, FRI#L'
  return `write *, ${least} to ${most}${named}${more}, ranges with "-", steps with "/", lists with ","`
}

function zoneProblem(timeZone: string): string | undefined {
  // An offset would ignore summer time, which is what most who write one do not mean.
  if (!/^[A-Za-z][A-Za-z0-9_+/-]{0,63}$/.test(timeZone))
    return 'is not the name of a time zone; write one such as "Europe/Berlin" or "UTC"'
  try {
    new Intl.DateTimeFormat('en', { timeZone })
    return undefined
  } catch {
    return `there is no time zone "${timeZone}"; write a name of the IANA database, such as "Europe/Berlin"`
  }
}

/** The first instant strictly after `after`, in milliseconds since the epoch; undefined if there is none. */
export function nextInstant(timing: Timing, after: number): number | undefined {
  if ('at' in timing) {
    const at = Date.parse(timing.at)
    return at > after ? at : undefined
  }
  return calendarOf(timing).nextRun(new Date(after))?.getTime()
}

/** The last instants from `from` to `until`, both included, `count` at most, the newest first. */
export function lastInstants(timing: Timing, from: number, until: number, count: number): number[] {
  if ('at' in timing) {
    const at = Date.parse(timing.at)
    return at >= from && at <= until && count > 0 ? [at] : []
  }
  const calendar = calendarOf(timing)
  const instants: number[] = []
  let before = until + 1
  while (instants.length < count) {
    const instant = calendar.previousRuns(1, new Date(before))[0]?.getTime()
    if (instant === undefined || instant < from) break
    instants.push(instant)
    before = instant
  }
  return instants
}

export function nextInstants(timing: Timing, after: number, count: number): number[] {
  const instants: number[] = []
  let last = after
  while (instants.length < count) {
    const next = nextInstant(timing, last)
    if (next === undefined) break
    instants.push(next)
    last = next
  }
  return instants
}

/** Never told what to do at these times, so it sets no timer; always given a date, so its clock plays no part. */
function calendarOf({ cron, timeZone }: Extract<Timing, { cron: string }>): Cron {
  return new Cron(cron, { timezone: timeZone, mode: '5-part', paused: true })
}
