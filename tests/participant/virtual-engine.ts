import type { SagaCall } from '@backstitch/sdk/participant'
import { callOf } from './connections.ts'

/**
 * One saga of one step, on a network that delays, repeats and loses, in virtual time: nobody waits for anything. What is
 * due within the same second is delivered at once, over connections of their own.
 */

/** What the network and the machines do to one delivery. */
export type Fate = 'answered' | 'replyLost' | 'rolledBack' | 'killedBeforeCommit' | 'killedAfterCommit'

/** `undefined`: the engine never hears of it. */
export type Reply = 'succeeded' | 'rejected' | undefined

export type Deliver = (call: SagaCall, fate: Fate) => Promise<Reply>

/** How the saga ended, as Backstitch would record it. */
export type End = 'completed' | 'undone' | 'rejected'

export type Played = { sagaId: string; end: End; deliveries: number; late: number }

const SECOND = 1
const TIMEOUT = 5
const MAX_DELAY = 60
const MAX_ATTEMPTS = 3

export async function playSaga(sagaId: string, random: () => number, deliver: Deliver): Promise<Played> {
  const chance = (probability: number) => random() < probability
  const queue: { at: number; run: () => Promise<void> | void }[] = []
  let now = 0
  let deliveries = 0
  let late = 0
  let end: End | undefined

  const fate = (): Fate => {
    const roll = random()
    if (roll < 0.6) return 'answered'
    if (roll < 0.77) return 'replyLost'
    if (roll < 0.96) return 'rolledBack'
    return roll < 0.98 ? 'killedBeforeCommit' : 'killedAfterCommit'
  }

  /** One attempt: one message, or several copies of it. The engine hears the first answer within the time-out. */
  function attempt(call: SagaCall, heard: (reply: Reply) => void): void {
    let isOver = false
    const over = (reply: Reply) => {
      if (isOver) return
      isOver = true
      heard(reply)
    }
    const copies = 1 + Number(chance(0.3)) + Number(chance(0.1))
    for (let copy = 0; copy < copies; copy++) {
      const delay = chance(0.5) ? random() * 2 : random() * MAX_DELAY
      const itsFate = fate()
      queue.push({
        at: now + delay,
        run: async () => {
          deliveries++
          if (isOver) late++
          const reply = await deliver(call, itsFate)
          if (reply !== undefined) over(reply)
        },
      })
    }
    queue.push({ at: now + TIMEOUT, run: () => over(undefined) })
  }

  function act(number: number, generation = 1): void {
    attempt(callOf(sagaId, 'action', generation), (reply) => {
      if (reply === 'succeeded') {
        if (chance(0.5)) end = 'completed'
        else turnBack() // a later step failed
      } else if (reply === 'rejected' && number === 1) {
        end = 'rejected' // and no attempt before it is uncertain
      } else if (reply === undefined && number < MAX_ATTEMPTS) {
        act(number + 1, generation)
      } else if (reply === undefined && generation === 1 && chance(0.2)) {
        act(2, 2) // an operator edits the input, and insists
      } else {
        turnBack() // compensateWhen: uncertain
      }
    })
  }

  function turnBack(): void {
    queue.push({ at: now + (chance(0.5) ? 0 : random() * 10), run: () => undo(1) })
  }

  function undo(generation: number): void {
    attempt(callOf(sagaId, 'compensation', generation), (reply) => {
      if (reply === 'succeeded') end = 'undone'
      else undo(chance(0.1) ? generation + 1 : generation) // by itself, and then by an operator
    })
  }

  act(1)
  while (queue.length > 0) {
    queue.sort((one, other) => one.at - other.at)
    const until = (queue[0]?.at ?? 0) + SECOND
    const due = queue.filter(({ at }) => at < until)
    queue.splice(0, due.length)
    now = due.at(-1)?.at ?? now
    await Promise.all(due.map(async ({ run }) => run()))
  }
  if (end === undefined) throw new Error(`saga ${sagaId} did not end`)
  return { sagaId, end, deliveries, late }
}

/** Mulberry32: the same seed, the same schedule. */
export function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
