import { createHmac } from 'node:crypto'
import {
  apply,
  begin,
  canonicalJson,
  Definition,
  Entry,
  type Json,
  missingIn,
  queueOf,
  resolveDefinition,
  type SagaState,
  type Status,
  sanitizeText,
  startedEntry,
  valuesFrom,
  wantedOf,
} from '@backstitch/core'
import { z } from 'zod'
import { type Claimed, decodeState, type Turns } from './claims.ts'
import { createDatabaseClock } from './clock.ts'
import { type CommitAnswer, isGated, type KnownMail, type Lease, type Transition } from './commits.ts'
import type { Registered } from './definitions.ts'
import { ConnectionLost } from './failure.ts'
import { splitByFamily } from './family.ts'
import { flushWithRecovery } from './flush.ts'
import type { Settled } from './gather.ts'
import { HistoryDamaged } from './history.ts'
import { bucketOf, newSagaId } from './ids.ts'
import { Letter, type Mailbox, type Posted } from './mailbox.ts'
import type { Outdated, Slot, StartAnswer, StartRequest } from './starts.ts'
import type { WorkerStore } from './store.ts'
import type { Pulse, WorkerRecord } from './workers.ts'

/**
 * The store without Postgres: what the statements do, one after the other, in memory. For simulations, in which time is
 * virtual and any answer may get lost. conformance.test.ts holds it and the real one to the same behaviour.
 */
export type MemoryRow = {
  sagaId: string
  queue: string
  definition: { name: string; version: number }
  status: Status
  /** As JSON: nobody shares an object with the database. */
  state: string
  version: number
  epoch: number
  owner: string | undefined
  dueAt: number | undefined
  leasesLost: number
  mailSeq: number
  mailSeen: number
  pastPivot: boolean
  paused: boolean
  parentSagaId: string | undefined
  startKey: string | undefined
  requestHash: string
  isEnded: boolean
}

export type MemoryEntry = { seq: number; epoch: number; worker: string | undefined; entry: string }

type MemoryWorker = WorkerRecord & { heartbeatAt: number; isConnected: boolean; isEnded: boolean }

const StoredObject = z.record(z.string(), z.custom<Json>())
const StuckBefore = z.object({ direction: z.string(), since: z.iso.datetime().optional().catch(undefined) })

export type MemoryDatabase = ReturnType<typeof createMemoryDatabase>

/** `onChange` sees each row before and after a statement has changed it, and throws if it should not have. */
export function createMemoryDatabase(options: {
  now: () => number
  onChange?: (before: MemoryRow | undefined, after: MemoryRow) => void
}) {
  const { now } = options
  const rows = new Map<string, MemoryRow>()
  const histories = new Map<string, MemoryEntry[]>()
  const letters = new Map<string, string[]>()
  const workers = new Map<string, MemoryWorker>()
  const definitions = new Map<string, Registered[]>()

  function change(row: MemoryRow, to: Partial<MemoryRow>): void {
    const after = { ...row, ...to }
    rows.set(row.sagaId, after)
    options.onChange?.(row, after)
  }

  function append(row: MemoryRow, worker: string | undefined, entry: Entry): void {
    const { sagaId, version: seq, epoch } = row
    const entries = histories.get(sagaId) ?? []
    if (entries.at(-1)?.seq === seq) throw new Error(`saga ${sagaId} has an entry ${seq} already`)
    histories.set(sagaId, [...entries, { seq, epoch, worker, entry: JSON.stringify(entry) }])
  }

  function isAlive(workerId: string): boolean {
    return workers.get(workerId)?.isEnded === false
  }

  const isFree = ({ owner, dueAt }: MemoryRow) => owner === undefined && dueAt !== undefined && dueAt <= now()
  const hasMail = ({ mailSeq, mailSeen }: MemoryRow) => mailSeq > mailSeen
  const byDue = (a: MemoryRow, b: MemoryRow) => (a.dueAt ?? 0) - (b.dueAt ?? 0)

  function take(row: MemoryRow, workerId: string): Claimed {
    change(row, { owner: workerId, epoch: row.epoch + 1, dueAt: undefined })
    const { sagaId, queue, definition, epoch, version, leasesLost, mailSeq, mailSeen, state } = get(
      row.sagaId,
    )
    const lease = { bucket: bucketOf(sagaId), sagaId, epoch }
    const decoded = decodeState(JSON.parse(state))
    return { lease, queue, definition, version, leasesLost, mailSeq, mailSeen, state: decoded }
  }

  function get(sagaId: string): MemoryRow {
    const row = rows.get(sagaId)
    if (row === undefined) throw new Error(`there is no saga ${sagaId}`)
    return row
  }

  function leased({ sagaId, epoch }: Lease): MemoryRow | undefined {
    const row = rows.get(sagaId)
    return row?.epoch === epoch ? row : undefined
  }

  function post(sagaId: string, letter: Letter): void {
    const row = get(sagaId)
    letters.set(sagaId, [...(letters.get(sagaId) ?? []), JSON.stringify(letter)])
    change(row, { mailSeq: row.mailSeq + 1, ...(row.owner === undefined && { dueAt: now() }) })
  }

  function insert(
    entry: Extract<Entry, { kind: 'sagaStarted' }>,
    more: Pick<MemoryRow, 'queue' | 'parentSagaId' | 'startKey' | 'requestHash'> & {
      owner?: string | undefined
    },
  ): MemoryRow {
    const state = begin(entry)
    const { sagaId, definition, status } = state
    const { owner, ...rest } = more
    const row: MemoryRow = {
      sagaId,
      definition,
      status,
      state: JSON.stringify(state),
      version: 1,
      epoch: owner === undefined ? 0 : 1,
      owner,
      dueAt: owner === undefined ? now() : undefined,
      leasesLost: 0,
      mailSeq: 0,
      mailSeen: 0,
      pastPivot: state.pivot !== undefined,
      paused: false,
      isEnded: false,
      ...rest,
    }
    rows.set(sagaId, row)
    append({ ...row, epoch: 0 }, undefined, entry)
    options.onChange?.(undefined, row)
    return row
  }

  function whereNow(sagaId: string): Posted {
    const row = rows.get(sagaId)
    if (row === undefined) return { is: 'unknown' }
    const { status, version, pastPivot } = row
    return row.isEnded ? { is: 'ended', status, version } : { is: 'refused', status, version, pastPivot }
  }

  return {
    now,
    rows,
    workers,
    isAlive,
    history: (sagaId: string) => histories.get(sagaId) ?? [],
    mail: (sagaId: string) => letters.get(sagaId) ?? [],

    register(document: Json): Registered & { created: boolean } {
      const definition = Definition.parse(document)
      const { name } = definition
      const versions = definitions.get(name) ?? []
      const hash = canonicalJson(document)
      const known = versions.find((one) => one.hash === hash)
      if (known !== undefined) return { ...known, created: false }
      const version = versions.length + 1
      const source = StoredObject.parse(document)
      const registered: Registered = {
        name,
        version,
        hash,
        queue: queueOf(definition),
        document: definition,
        source,
        resolved: resolveDefinition(definition, version),
        createdAt: new Date(now()).toISOString(),
      }
      definitions.set(name, [...versions, registered])
      return { ...registered, created: true }
    },
    definition: (name: string, version: number) => definitions.get(name)?.[version - 1],
    latest: (name: string) => definitions.get(name)?.at(-1),
    definitionNames: () => [...definitions.keys()].sort(),

    /** Its definition is not the highest version of its name, and nothing has been started before that it would find. */
    isOutdated(
      { definition: { name, version } }: StartRequest,
      startKey: string | undefined,
      sagaId: string,
    ): boolean {
      const isThere = (row: MemoryRow) =>
        row.sagaId === sagaId || (startKey !== undefined && row.startKey === startKey)
      return definitions.get(name)?.at(-1)?.version !== version && ![...rows.values()].some(isThere)
    },

    start(
      request: StartRequest,
      startKey: string | undefined,
      owner?: string,
      sagaId = newSagaId(now()),
    ): StartAnswer & { lease?: Lease } {
      // An earlier try of this very start did arrive (F30). If it is leased, its worker finds it among its leases.
      const earlier = histories.get(sagaId)?.[0]
      if (earlier !== undefined) return { is: 'started', sagaId, state: foldOf([earlier]) }
      const holder =
        startKey === undefined ? undefined : [...rows.values()].find((row) => row.startKey === startKey)
      if (holder !== undefined) {
        const is = holder.requestHash === request.requestHash ? 'repeated' : 'conflict'
        return { is, sagaId: holder.sagaId }
      }
      const { definition, input, inputBytes, requestHash, deadlineMs } = request
      const entry = startedEntry({
        sagaId,
        definition: definition.resolved,
        input,
        inputBytes,
        now: now(),
        deadlineMs,
        correlationId: request.correlationId,
        traceparent: request.traceparent,
      })
      const held = owner !== undefined && isAlive(owner) ? owner : undefined
      insert(entry, {
        queue: definition.queue,
        parentSagaId: undefined,
        startKey,
        requestHash,
        owner: held,
      })
      const answer = { is: 'started', sagaId, state: begin(entry) } as const
      return held === undefined
        ? answer
        : { ...answer, lease: { bucket: bucketOf(sagaId), sagaId, epoch: 1 } }
    },

    /** `seenAlive`: the statement's snapshot may be older than the rows it takes. */
    claim(
      workerId: string,
      queues: readonly string[],
      limit: number,
      turns: Turns = {},
      seenAlive = isAlive(workerId),
    ): Claimed[] {
      if (!seenAlive) return []
      const due = [...rows.values()].filter((row) => isFree(row) && row.leasesLost < 2)
      const { after, held = [], share = limit, mail = limit } = turns
      const withMail = due.filter(hasMail).toSorted(byDue).slice(0, mail)
      const unheld = queues.flatMap((queue) => {
        const mine = due.filter((row) => row.queue === queue)
        const names = [...new Set(mine.map(({ definition }) => definition.name))].sort()
        const last = after?.get(queue) ?? ''
        const inTurn = [...names.filter((name) => name > last), ...names.filter((name) => name <= last)]
        return inTurn
          .map((name) => ({ queue, name }))
          .filter((one) => !held.some(({ queue: of, name }) => of === one.queue && name === one.name))
      })
      const heldOfOurs = held.filter(({ queue }) => queues.includes(queue))
      const rest = [...unheld, ...heldOfOurs].flatMap(({ queue, name }) =>
        due
          .filter((row) => row.queue === queue && row.definition.name === name && !withMail.includes(row))
          .toSorted(byDue)
          .slice(0, share),
      )
      return [...withMail, ...rest].slice(0, limit).map((row) => take(row, workerId))
    },

    claimSuspect(workerId: string, queues: readonly string[]): Claimed[] {
      if (!isAlive(workerId)) return []
      const [suspect] = [...rows.values()]
        .filter((row) => isFree(row) && row.leasesLost >= 2 && (queues.includes(row.queue) || hasMail(row)))
        .toSorted(byDue)
      return suspect === undefined ? [] : [take(suspect, workerId)]
    },

    takeAgain(workerId: string, leases: readonly Lease[]): Claimed[] {
      if (!isAlive(workerId)) return []
      return leases.flatMap((lease) => {
        const row = leased(lease)
        return row?.owner === workerId ? [take(row, workerId)] : []
      })
    },

    nextDue(queues: readonly string[]) {
      const mine = [...rows.values()].filter((row) => row.dueAt !== undefined)
      const later = mine.filter((row) => queues.includes(row.queue) && !isFree(row)).toSorted(byDue)[0]
      const suspect = mine
        .filter((row) => isFree(row) && row.leasesLost >= 2 && (queues.includes(row.queue) || hasMail(row)))
        .toSorted(byDue)[0]
      return {
        dueMs: later?.dueAt === undefined ? undefined : later.dueAt - now(),
        suspectWaitingMs: suspect?.dueAt === undefined ? undefined : now() - suspect.dueAt,
      }
    },

    /** The answer to those that were carried out; undefined for the others. */
    commit(transitions: readonly Transition[], workerId: string): (CommitAnswer | undefined)[] {
      return transitions.map((transition) => {
        const { lease, version, mailSeen, state, entry, after, family } = transition
        const row = leased(lease)
        if (row === undefined || row.version !== version || row.isEnded) return undefined
        if (isGated(transition) && row.mailSeq !== mailSeen) return undefined
        const isEnded =
          state.status !== 'stuck' && state.status !== 'running' && state.status !== 'compensating'
        const keeps = after.is === 'keep'
        const dueAt = row.mailSeq > mailSeen ? now() : after.is === 'due' ? after.at : undefined
        append({ ...row, version: version + 1 }, workerId, entry)
        change(row, {
          version: version + 1,
          status: state.status,
          state: JSON.stringify(state),
          owner: keeps ? row.owner : undefined,
          dueAt: keeps || isEnded ? undefined : dueAt,
          leasesLost: state.leasesLost ?? 0,
          mailSeen,
          pastPivot: state.pivot !== undefined,
          paused: state.paused !== undefined,
          isEnded,
        })
        for (const { to, letter } of family?.letters ?? [])
          if (rows.get(to)?.isEnded === false) post(to, letter)
        for (const child of family?.starts ?? []) {
          const startKey = `child:${child.parentSagaId}:${child.parentVersion}`
          const { queue } = child.definition
          insert(child.entry, { queue, parentSagaId: child.parentSagaId, startKey, requestHash: '' })
        }
        return { is: 'committed', version: version + 1, mailSeq: get(lease.sagaId).mailSeq }
      })
    },

    whereNow(transition: Transition): CommitAnswer {
      const { lease, version, mailSeen, entry } = transition
      const row = leased(lease)
      if (row === undefined) return { is: 'leaseLost' }
      const written = histories.get(lease.sagaId)?.find(({ seq }) => seq === version + 1)
      if (written?.epoch === lease.epoch && written.entry === JSON.stringify(entry))
        return { is: 'committed', version: version + 1, mailSeq: row.mailSeq }
      return row.version === version && row.mailSeq > mailSeen
        ? { is: 'unreadMail', mailSeq: row.mailSeq }
        : { is: 'leaseLost' }
    },

    release(lease: Lease, delayMs: number, mail: KnownMail = { seen: 0, known: 0 }): void {
      const row = leased(lease)
      if (row === undefined || row.dueAt !== undefined || row.isEnded) return
      const mailSeen = Math.max(row.mailSeen, mail.seen)
      const rests = (row.status === 'stuck' || row.paused) && row.mailSeq <= mailSeen
      const isNews = row.mailSeq > Math.max(mailSeen, mail.known)
      const dueAt = rests ? undefined : now() + (isNews ? 0 : Math.round(delayMs))
      change(row, { owner: undefined, epoch: row.epoch + 1, mailSeen, dueAt })
    },

    park(lease: Lease, workerId: string, reason: string, mailKnown: number): void {
      const row = leased(lease)
      if (row === undefined || row.isEnded) return
      const at = new Date(now()).toISOString()
      const message = sanitizeText(reason, 1024)
      const before = StoredObject.parse(JSON.parse(row.state))
      const was = row.status === 'stuck' ? StuckBefore.safeParse(before.stuck).data : undefined
      const back = row.status === 'compensating' || was?.direction === 'compensation'
      const direction = back ? ('compensation' as const) : ('action' as const)
      const { since = at } = was ?? {}
      const stuck = { step: null, direction, reason: 'undecidable', message, since } as const
      const entry = Entry.parse({
        kind: 'parked',
        at,
        reason: message,
        to: { status: 'stuck', stuck },
      })
      const state = { ...before, status: 'stuck', updatedAt: at, stuck }
      const to = { version: row.version + 1, epoch: row.epoch + 1 }
      append({ ...row, ...to }, workerId, entry)
      change(row, {
        ...to,
        status: 'stuck',
        state: JSON.stringify(state),
        owner: undefined,
        dueAt: row.mailSeq > mailKnown ? now() : undefined,
        leasesLost: 0,
      })
      const { parentSagaId: parent, sagaId } = row
      if (parent !== undefined && rows.get(parent)?.isEnded === false)
        post(parent, { kind: 'childReport', sagaId, status: 'stuck' })
    },

    post(sagaId: string, letter: Letter, when: Parameters<Mailbox['post']>[2] = {}): Posted {
      const row = rows.get(sagaId)
      if (
        row === undefined ||
        row.isEnded ||
        (when.status !== undefined && row.status !== when.status) ||
        (when.version !== undefined && row.version !== when.version) ||
        (when.beforePivot === true && row.pastPivot)
      )
        return whereNow(sagaId)
      const { status, version, queue } = row
      post(sagaId, letter)
      return { is: 'posted', status, version, queue }
    },

    announce(record: WorkerRecord): void {
      if (workers.has(record.workerId)) return
      workers.set(record.workerId, { ...record, heartbeatAt: now(), isConnected: true, isEnded: false })
    },

    pulse(workerId: string, beat: { holds: number; services: WorkerRecord['services'] } | undefined): Pulse {
      const own = workers.get(workerId)
      if (own?.isEnded === false) {
        own.isConnected = true
        if (beat !== undefined) own.heartbeatAt = now()
      }
      const unread = [...rows.values()].filter((row) => row.owner === workerId && hasMail(row))
      const silent = [...workers.values()].flatMap((other) => {
        const reason = other.workerId === workerId ? undefined : whyDead(other)
        return reason === undefined ? [] : [{ workerId: other.workerId, reason, backendPid: null }]
      })
      return { alive: isAlive(workerId), unread: unread.map(({ sagaId }) => sagaId), silent }
    },

    others: (workerId: string) =>
      [...workers.values()]
        .filter((other) => !other.isEnded && other.workerId !== workerId)
        .map(({ handlers, services }) => ({
          handlers: Object.fromEntries(Object.entries(handlers).map(([name, steps]) => [name, [...steps]])),
          services,
        })),

    leases: (workerId: string): Lease[] =>
      [...rows.values()]
        .filter(({ owner }) => owner === workerId)
        .map(({ sagaId, epoch }) => ({ bucket: bucketOf(sagaId), sagaId, epoch })),

    declareDead(workerId: string): boolean {
      const worker = workers.get(workerId)
      if (worker === undefined || whyDead(worker) === undefined) return false
      worker.isEnded = true
      return true
    },

    sweep(limit: number): number {
      const lost = [...rows.values()]
        .filter(({ owner }) => owner !== undefined && !isAlive(owner))
        .slice(0, limit)
      for (const row of lost) {
        const dueAt = (row.status === 'stuck' || row.paused) && !hasMail(row) ? undefined : now()
        const { epoch, leasesLost } = row
        change(row, { owner: undefined, epoch: epoch + 1, leasesLost: leasesLost + 1, dueAt })
      }
      return lost.length
    },

    stop(workerId: string): void {
      const worker = workers.get(workerId)
      if (worker !== undefined) worker.isEnded = true
    },
  }

  function whyDead({ isEnded, heartbeatAt, leaseMs, isConnected }: MemoryWorker) {
    if (isEnded) return undefined
    if (heartbeatAt < now() - leaseMs) return 'leaseExpired' as const
    return isConnected ? undefined : ('connectionLost' as const)
  }
}

/** Carries a statement to the database and its answer back; rejects with ConnectionLost where either is lost. */
export type Network = <T>(statement: () => T) => Promise<T>

/** The folded history, which must be the state (S35). */
export function foldOf(entries: readonly MemoryEntry[]): SagaState {
  const [first, ...rest] = entries.map(({ entry }) => Entry.parse(JSON.parse(entry)))
  if (first?.kind !== 'sagaStarted') throw new Error('a history begins with sagaStarted')
  return rest.reduce((state, entry, index) => apply(state, entry, index + 2), begin(first))
}

export function openMemoryStore(
  database: MemoryDatabase,
  options: {
    workerId: string
    leaseMs: number
    onDue?: (queues: string[]) => void
    /** A hint to all workers. */
    tell?: (queue: string) => void
    network?: Network
  },
): WorkerStore {
  const { workerId, leaseMs } = options
  const carry: Network = options.network ?? (async (statement) => statement())
  const clock = createDatabaseClock()
  const lastKnown = new Map<string, Registered>()
  let closed = false

  async function ask<T>(statement: () => T): Promise<T> {
    if (closed) throw new ConnectionLost('the store is closed')
    const sentAt = performance.now()
    const { answer, now } = await carry(() => ({ answer: statement(), now: database.now() }))
    clock.saw(now, sentAt)
    return answer
  }

  /** A connection: one statement at a time. */
  function connect(): typeof ask {
    let last: Promise<unknown> = Promise.resolve()
    return (statement) => {
      const answer = last.then(() => ask(statement))
      last = answer.catch(() => undefined)
      return answer
    }
  }
  const onClaims = connect()
  const onSession = connect()
  clock.saw(database.now(), performance.now())

  const mayWait = (sinceMs: number) => !closed && sinceMs < leaseMs

  async function commit(transitions: readonly Transition[]): Promise<Settled<CommitAnswer>[]> {
    const answers = new Map<Transition, CommitAnswer>()
    for (const batch of splitByFamily(transitions)) {
      const committed = await ask(() => database.commit(batch, workerId))
      for (const [index, transition] of batch.entries()) {
        const answer = committed[index] ?? (await ask(() => database.whereNow(transition)))
        answers.set(transition, answer)
      }
    }
    return transitions.map((one) => ({ ok: true, answer: answers.get(one) ?? { is: 'leaseLost' } }))
  }

  async function makeStart(
    request: StartRequest,
    slot: Slot | undefined,
    onlyIfLatest: boolean,
  ): Promise<StartAnswer | Outdated> {
    const sagaId = newSagaId(clock.now())
    const startKey = startKeyOf(request)
    slot?.expect(sagaId)
    try {
      const [settled] = await flushWithRecovery(
        [request],
        async () => {
          const answer = await ask(() =>
            onlyIfLatest && database.isOutdated(request, startKey, sagaId)
              ? ({ is: 'outdated', lease: undefined } as const)
              : database.start(request, startKey, slot?.workerId, sagaId),
          )
          return [{ ok: true, answer }]
        },
        (sinceMs) => !closed && sinceMs < 8_000,
      )
      if (settled?.ok !== true) throw settled?.error
      const { lease, ...answer } = settled.answer
      if (lease === undefined || answer.is !== 'started') slot?.leave()
      else {
        const { name, version, queue } = request.definition
        slot?.fill({
          lease,
          queue,
          definition: { name, version },
          version: 1,
          state: answer.state,
          leasesLost: 0,
          mailSeq: 0,
          mailSeen: 0,
        })
      }
      return answer
    } catch (error) {
      slot?.leave()
      throw error
    }
  }

  const startKeyOf = ({
    definition,
    sagaKey,
    idempotencyKey,
    scheduleKey,
  }: Pick<StartRequest, 'definition' | 'sagaKey' | 'idempotencyKey' | 'scheduleKey'>) =>
    scheduleKey !== undefined
      ? `schedule:${scheduleKey}`
      : sagaKey !== undefined
        ? `saga:${definition.name}:${sagaKey}`
        : idempotencyKey && `request:${idempotencyKey}`

  return {
    clock,
    // Nobody listens to a simulation.
    feed: {
      publish: async () => ({ events: 0, unreadable: 0, more: false, steps: false }),
      tidy: async () => undefined,
    },
    webhooks: { takeDue: async () => [], settle: async () => ({ disabled: false }) },
    listeners: { steps: false, onNews: () => undefined },
    definitions: {
      register: (document) => ask(() => database.register(document)),
      get: async (name, version) => database.definition(name, version),
      async latest(name) {
        const found = await ask(() => database.latest(name))
        if (found !== undefined) lastKnown.set(name, found)
        return found
      },
      lastKnown: (name) => lastKnown.get(name),
      list: ({ after = '', limit }) =>
        ask(() =>
          database
            .definitionNames()
            .filter((name) => name > after)
            .slice(0, limit)
            .flatMap((name) => database.latest(name) ?? []),
        ),
      versions: (name, { before = Number.POSITIVE_INFINITY, limit }) =>
        ask(() => {
          const newest = Math.min(before - 1, database.latest(name)?.version ?? 0)
          const versions = Array.from({ length: Math.max(newest, 0) }, (_, n) => newest - n).slice(0, limit)
          return versions.flatMap((version) => database.definition(name, version) ?? [])
        }),
    },
    claims: {
      claim(queues, limit, turns) {
        const seenAlive = database.isAlive(workerId)
        return onClaims(() => database.claim(workerId, queues, limit, turns, seenAlive))
      },
      claimSuspect: (queues) => onClaims(() => database.claimSuspect(workerId, queues)),
      takeAgain: (leases) => onClaims(() => database.takeAgain(workerId, leases)),
      nextDueMs: (queues) => onClaims(() => database.nextDue(queues)),
      close: async () => undefined,
    },
    commits: {
      lanes: 2,
      commit: (transitions) => flushWithRecovery(transitions, commit, mayWait),
      async release(lease, delayMs, mail) {
        const [settled] = await flushWithRecovery(
          [lease],
          async () => {
            await ask(() => database.release(lease, delayMs, mail))
            return [{ ok: true, answer: undefined }]
          },
          mayWait,
        )
        if (settled?.ok === false) throw settled.error
      },
      park: (lease, reason, mailKnown) => ask(() => database.park(lease, workerId, reason, mailKnown)),
      async close() {
        closed = true
      },
    },
    mailbox: {
      post: (sagaId, letter, when) => ask(() => database.post(sagaId, letter, when)),
      read: (sagaId, after, limit = 100) =>
        ask(() =>
          database
            .mail(sagaId)
            .map((letter, index) => ({ seq: index + 1, letter: Letter.parse(JSON.parse(letter)) }))
            .slice(after, after + limit),
        ),
    },
    history: {
      async values(sagaId, state) {
        const wanted = wantedOf(state)
        if (wanted.names.length === 0 && wanted.edits.size === 0) return new Map()
        const entries = await ask(() => database.history(sagaId))
        const read = entries.map(({ seq, entry }) => ({ seq, entry: Entry.parse(JSON.parse(entry)) }))
        const found = valuesFrom(read, wanted)
        const missing = missingIn(wanted, found)
        if (missing !== undefined)
          throw new HistoryDamaged(`no history entry holds the value of "${missing}"`)
        return found
      },
    },
    sagaState: (sagaId) =>
      ask(() => {
        const row = database.rows.get(sagaId)
        const state = row && decodeState(JSON.parse(row.state))
        return state === undefined || 'unreadable' in state ? undefined : state
      }),
    callbackTokens: async () => (sagaId, step, direction, generation) =>
      `${sagaId}.${createHmac('sha256', 'memory').update(`${sagaId}:${step}:${direction}:${generation}`).digest('base64url')}`,
    schedules: { takeDue: async () => 0, nextDueMs: async () => undefined },
    starts: {
      async start(request, slot) {
        const answer = await makeStart(request, slot, false)
        if (answer.is === 'outdated') throw new Error('a start under any version was refused for its version')
        return answer
      },
      startIfLatest: (request, slot) => makeStart(request, slot, true),
      find: (request) =>
        ask(() => {
          const key = startKeyOf(request)
          const held = [...database.rows.values()].find(
            ({ startKey }) => key !== undefined && startKey === key,
          )
          if (held === undefined) return undefined
          const is = held.requestHash === request.requestHash ? 'repeated' : 'conflict'
          return { is, sagaId: held.sagaId }
        }),
      waiting: 0,
      close: async () => undefined,
    },
    wakeups: { due: (queue) => options.tell?.(queue) },
    rests: { tell: () => undefined },
    session: {
      register: (record) => onSession(() => database.announce(record)),
      pulse: (id, beat) => onSession(() => database.pulse(id, beat)),
      others: (id) => onSession(() => database.others(id)),
      offer: async () => 0,
      leases: (id) => onSession(() => database.leases(id)),
      declareDead: (worker) => onSession(() => database.declareDead(worker.workerId)),
      sweep: (limit) => onSession(() => database.sweep(limit)),
      stop: (id) => onSession(() => database.stop(id)),
      close: async () => undefined,
    },
    check: async () => ({ missingMigrations: [] }),
    async close() {
      closed = true
    },
  }
}
