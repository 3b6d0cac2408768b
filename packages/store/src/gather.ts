/**
 * Gathering: items that would each need a statement of their own travel together (idea 3 of ARCHITECTURE.md). While all
 * lanes are idle an item leaves at once; while one is busy, what arrives waits and leaves together when that is answered, for
 * many in one flush cost less than few in each of two. Another lane is taken by what is worth it: many items, or some that
 * have waited for long.
 */
export type Gatherer<Item, Answer> = {
  /** Resolves with the answer to this item, or rejects with what its flush said about it. */
  submit(item: Item): Promise<Answer>
  /** Items that wait for a lane. */
  readonly waiting: number
  /** Resolves when nothing waits and nothing is in flight. */
  settled(): Promise<void>
}

export type GatherOptions<Item, Answer> = {
  lanes: number
  /** So many items are worth another lane while one is busy. Default 32. */
  laneItems?: number
  /** Answers in the order of the items. A rejection rejects them all. */
  flush: (items: Item[], lane: number) => Promise<Settled<Answer>[]>
  bytesOf: (item: Item) => number
  maxItems: number
  maxBytes: number
}

export type Settled<Answer> = { ok: true; answer: Answer } | { ok: false; error: unknown }

/** A flush that takes longer than this waits for something itself, and is not waited for. */
const LONG_MS = 10

type Waiting<Item, Answer> = {
  item: Item
  resolve: (answer: Answer) => void
  reject: (error: unknown) => void
}

export function createGatherer<Item, Answer>(options: GatherOptions<Item, Answer>): Gatherer<Item, Answer> {
  const { flush, bytesOf, maxItems, maxBytes, laneItems = 32 } = options
  const idle = Array.from({ length: options.lanes }, (_, lane) => lane)
  /** By lane: when what is under way there left. */
  const leftAt = idle.map(() => Number.NEGATIVE_INFINITY)
  const listeners: (() => void)[] = []
  let queue: Waiting<Item, Answer>[] = []
  let scheduled = false
  let alarm: NodeJS.Timeout | undefined

  function submit(item: Item): Promise<Answer> {
    return new Promise((resolve, reject) => {
      queue.push({ item, resolve, reject })
      schedule()
    })
  }

  /** Not in the same turn of the event loop: what is submitted within one turn belongs together. */
  function schedule(): void {
    if (scheduled || idle.length === 0) return
    scheduled = true
    setImmediate(() => {
      scheduled = false
      if (queue.length >= laneItems) dispatch()
      else waitForLane()
    })
  }

  /** Until the flush that left last is answered, or has been under way for long. */
  function waitForLane(): void {
    if (queue.length === 0 || idle.length === 0) return
    const longInMs = Math.max(...leftAt) + LONG_MS - performance.now()
    if (longInMs <= 0) dispatch()
    else alarm ??= setTimeout(dispatch, longInMs)
  }

  function dispatch(): void {
    clearTimeout(alarm)
    alarm = undefined
    while (queue.length > 0) {
      const lane = idle.pop()
      if (lane === undefined) return
      // A long queue is shared by the lanes that are idle.
      const parts = Math.min(idle.length + 1, Math.max(1, Math.floor(queue.length / laneItems)))
      const batch = take(Math.min(maxItems, Math.ceil(queue.length / parts)))
      leftAt[lane] = performance.now()
      void run(batch, lane)
    }
  }

  function take(count: number): Waiting<Item, Answer>[] {
    let bytes = 0
    let end = 0
    for (const { item } of queue) {
      bytes += bytesOf(item)
      if (end > 0 && (end === count || bytes > maxBytes)) break
      end++
    }
    const taken = queue.slice(0, end)
    queue = queue.slice(end)
    return taken
  }

  async function run(batch: Waiting<Item, Answer>[], lane: number): Promise<void> {
    try {
      const answers = await flush(
        batch.map(({ item }) => item),
        lane,
      )
      batch.forEach(({ resolve, reject }, index) => {
        const settled = answers[index]
        if (settled === undefined) reject(new Error('a flush answered fewer items than it was given'))
        else if (settled.ok) resolve(settled.answer)
        else reject(settled.error)
      })
    } catch (error) {
      for (const { reject } of batch) reject(error)
    } finally {
      idle.push(lane)
      leftAt[lane] = Number.NEGATIVE_INFINITY
      if (queue.length > 0) schedule()
      else if (idle.length === options.lanes) for (const listener of listeners.splice(0)) listener()
    }
  }

  return {
    submit,
    get waiting() {
      return queue.length
    },
    settled() {
      if (queue.length === 0 && idle.length === options.lanes) return Promise.resolve()
      return new Promise((resolve) => listeners.push(resolve))
    },
  }
}
