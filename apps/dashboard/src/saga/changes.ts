/** What is different between two JSON values, place by place. */

export type Difference = { path: string; was?: unknown; is?: unknown }

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Members of a list that have names are told apart by them, others by their place. */
function membersOf(value: unknown): Map<string, unknown> | undefined {
  if (isObject(value)) return new Map(Object.entries(value))
  if (!Array.isArray(value)) return undefined
  const names = value.map(nameOf)
  const areNamed = names.every((name) => name !== undefined) && new Set(names).size === names.length
  return new Map(value.map((item: unknown, place) => [areNamed ? (names[place] ?? '') : String(place), item]))
}

/** A parallel group has no name but those of its members. */
function nameOf(item: unknown): string | undefined {
  if (!isObject(item)) return undefined
  if (typeof item.name === 'string') return item.name
  const members = Array.isArray(item.parallel) ? item.parallel.map(nameOf) : [undefined]
  return members.every((name) => name !== undefined) ? members.join(' + ') : undefined
}

export function differences(was: unknown, is: unknown, path = ''): Difference[] {
  if (Object.is(was, is)) return []
  const [before, after] = [membersOf(was), membersOf(is)]
  if (before === undefined || after === undefined || Array.isArray(was) !== Array.isArray(is)) {
    return JSON.stringify(was) === JSON.stringify(is) ? [] : [{ path, was, is }]
  }
  const names = new Set([...before.keys(), ...after.keys()])
  return [...names].flatMap((name): Difference[] => {
    const place = path === '' ? name : `${path} › ${name}`
    if (!before.has(name)) return [{ path: place, is: after.get(name) }]
    if (!after.has(name)) return [{ path: place, was: before.get(name) }]
    return differences(before.get(name), after.get(name), place)
  })
}
