import { setTimeout as sleep } from 'node:timers/promises'
import type { HistoryItem, Saga } from '@backstitch/sdk'
import { momentOf } from '../timeline.ts'
import type { Stage } from './story.ts'

/** Tells what happens to one saga, as it happens: its history is read again and again, and what is new is told. */
export class Follower {
  readonly #stage: Stage
  readonly #sagaId: string
  #told = 0
  #last: HistoryItem | undefined

  constructor(stage: Stage, sagaId: string) {
    this.#stage = stage
    this.#sagaId = sagaId
  }

  /** Until `enough` says so, the saga has ended or needs a person, or the time is up. */
  async until(enough: (saga: Saga) => boolean | Promise<boolean>, withinMs: number): Promise<Saga> {
    const { client, signal } = this.#stage
    const deadline = performance.now() + withinMs
    for (;;) {
      const saga = await client.getSaga(this.#sagaId)
      await this.#tellNews()
      const over = saga.next.act !== 'attempt'
      if (over || (await enough(saga)) || performance.now() > deadline) return saga
      await sleep(50, undefined, { signal })
    }
  }

  async toTheEnd(withinMs: number): Promise<Saga> {
    return await this.until(() => false, withinMs)
  }

  async #tellNews(): Promise<void> {
    const { client, narrator, nameOf } = this.#stage
    const history = await client.history(this.#sagaId)
    for (const item of history) {
      if (item.seq <= this.#told) continue
      const moment = momentOf(item, this.#last, nameOf)
      if (moment !== undefined) narrator.moment(moment)
      this.#told = item.seq
      this.#last = item
    }
  }
}
