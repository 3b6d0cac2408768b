/**
 * Virtual time: in this process timers, the monotonic clock and chance are the simulation's. What runs belongs to a host, and
 * a host can crash or be paused between any two turns of its event loop. The code under test knows nothing of it.
 */
export type Host = { name: string; isUp: boolean; pausedUntil: number }

type Due = {
  at: number
  order: number
  host: Host | undefined
  run: () => void
  isOff: boolean
  everyMs?: number
}

export type Virtual = {
  now(): number
  random(): number
  /** In [low, high), more often near `low`. */
  between(low: number, high: number): number
  chance(probability: number): boolean
  pick<T>(some: readonly T[]): T
  /** Runs as a host's code does, after so long; without a host it is the world's own doing. */
  after(ms: number, run: () => void, host?: Host): void
  /** Goes on until there is nothing left, or `isOver`. `before` is asked before each turn of a host. */
  run(isOver: () => boolean, before: (host: Host) => void): Promise<void>
  readonly host: Host | undefined
  readonly turns: number
}

const realImmediate = globalThis.setImmediate

/** Once in a process; each call begins anew. */
export function createVirtual(seed: number): Virtual {
  let now = 0
  let order = 0
  let turns = 0
  let host: Host | undefined
  const heap: Due[] = []

  function add(ms: number, run: () => void, owner: Host | undefined, everyMs?: number): Due {
    const due: Due = { at: now + Math.max(0, ms), order: order++, host: owner, run, isOff: false }
    if (everyMs !== undefined) due.everyMs = everyMs
    push(heap, due)
    return due
  }

  const timer = (due: Due) => ({ due, unref: () => timer(due), ref: () => timer(due), hasRef: () => true })
  const clear = (one: { due: Due } | undefined) => {
    if (one !== undefined) one.due.isOff = true
  }
  const set = (run: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) =>
    // As Node's: a timer is at least a millisecond.
    timer(add(Math.max(1, ms), () => run(...args), host))
  Object.assign(globalThis, {
    setTimeout: set,
    setImmediate: (run: () => void) => timer(add(0, run, host)),
    setInterval: (run: () => void, ms: number) => timer(add(ms, run, host, ms)),
    clearTimeout: clear,
    clearInterval: clear,
    clearImmediate: clear,
  })
  performance.now = () => now
  Math.random = mulberry32(seed ^ 0x9e3779b9)
  const draw = mulberry32(seed)

  const virtual: Virtual = {
    now: () => now,
    random: draw,
    between: (low, high) => low + (high - low) * draw() ** 3,
    chance: (probability) => draw() < probability,
    pick(some) {
      const one = some[Math.floor(draw() * some.length)]
      if (one === undefined) throw new Error('nothing to pick from')
      return one
    },
    after: (ms, run, owner) => void add(ms, run, owner),
    get host() {
      return host
    },
    get turns() {
      return turns
    },
    async run(isOver, before) {
      for (let due = pop(heap); due !== undefined; due = pop(heap)) {
        if (due.isOff || due.host?.isUp === false) continue
        now = Math.max(now, due.at)
        if (due.host !== undefined) {
          before(due.host)
          if (!due.host.isUp) continue
          if (due.host.pausedUntil > now) {
            // In its order: what came first is done first when it wakes up.
            due.at = due.host.pausedUntil
            push(heap, due)
            continue
          }
        }
        turns++
        host = due.host
        due.run()
        if (due.everyMs !== undefined && !due.isOff) {
          due.at = now + due.everyMs
          due.order = order++
          push(heap, due)
        }
        // All promises that this has settled are followed up before the next turn.
        await new Promise<void>((resolve) => void realImmediate(resolve))
        host = undefined
        if (isOver()) return
      }
    },
  }
  return virtual
}

function push(heap: Due[], due: Due): void {
  heap.push(due)
  for (let at = heap.length - 1; at > 0; ) {
    const parent = (at - 1) >> 1
    if (!isBefore(heap[at], heap[parent])) return
    swap(heap, at, parent)
    at = parent
  }
}

function pop(heap: Due[]): Due | undefined {
  const [first] = heap
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return first
  heap[0] = last
  for (let at = 0; ; ) {
    const [left, right] = [2 * at + 1, 2 * at + 2]
    let least = at
    if (isBefore(heap[left], heap[least])) least = left
    if (isBefore(heap[right], heap[least])) least = right
    if (least === at) return first
    swap(heap, at, least)
    at = least
  }
}

function isBefore(one: Due | undefined, other: Due | undefined): boolean {
  if (one === undefined || other === undefined) return false
  return one.at === other.at ? one.order < other.order : one.at < other.at
}

function swap(heap: Due[], one: number, other: number): void {
  const [a, b] = [heap[one], heap[other]]
  if (a === undefined || b === undefined) return
  heap[one] = b
  heap[other] = a
}

function mulberry32(seed: number): () => number {
  let a = seed >>> 0
  return () => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), a | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
