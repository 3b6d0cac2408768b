/**
 * Gathering: items that would each need a statement of their own travel together (idea 3 of ARCHITECTURE.md). While a
 * lane is idle an item leaves at once; while all are busy, what arrives waits and leaves together with the next flush.
 * No timer ever holds an item back.
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
  /** Answers in the order of the items. A rejection rejects them all. */
  flush: (items: Item[], lane: number) => Promise<Settled<Answer>[]>
  bytesOf: (item: Item) => number
  maxItems: number
  maxBytes: number
}

export type Settled<Answer> = { ok: true; answer: Answer } | { ok: false; error: unknown }

type Waiting<Item, Answer> = {
  item: Item
  resolve: (answer: Answer) => void
  reject: (error: unknown) => void
}

export function createGatherer<Item, Answer>(options: GatherOptions<Item, Answer>): Gatherer<Item, Answer> {
  const { flush, bytesOf, maxItems, maxBytes } = options
  const idle = Array.from({ length: options.lanes }, (_, lane) => lane)
  const listeners: (() => void)[] = []
  let queue: Waiting<Item, Answer>[] = []
  let scheduled = false

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
      dispatch()
    })
  }

  function dispatch(): void {
    while (queue.length > 0 && idle.length > 0) {
      const lane = idle.pop()
      if (lane === undefined) return
      // A long queue is shared by the lanes that are idle.
      const share = Math.min(maxItems, Math.ceil(queue.length / (idle.length + 1)))
      void run(take(Math.max(share, 1)), lane)
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
