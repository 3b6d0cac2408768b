import { setTimeout as sleep } from 'node:timers/promises'
import type { SagaSnapshot } from '@backstitch/sdk'
import { Timeline } from '../timeline.ts'
import type { Stage } from './story.ts'

/** Tells what happens to one saga, as it happens: its history is read again and again, and what is new is told. */
export class Follower {
  readonly #stage: Stage
  readonly #sagaId: string
  readonly #timeline: Timeline
  #told = 0

  constructor(stage: Stage, sagaId: string) {
    this.#stage = stage
    this.#sagaId = sagaId
    this.#timeline = new Timeline(stage.nameOf)
  }

  /** Until `enough` says so, the saga has ended or needs a person, or the time is up. */
  async until(
    enough: (saga: SagaSnapshot) => boolean | Promise<boolean>,
    withinMs: number,
  ): Promise<SagaSnapshot> {
    const { client, signal } = this.#stage
    const deadline = performance.now() + withinMs
    for (;;) {
      const saga = await client.sagas.get(this.#sagaId, { signal })
      await this.#tellNews()
      const over = saga.next.act !== 'attempt'
      if (over || (await enough(saga)) || performance.now() > deadline) return saga
      await sleep(50, undefined, { signal })
    }
  }

  async toTheEnd(withinMs: number): Promise<SagaSnapshot> {
    return await this.until(() => false, withinMs)
  }

  async #tellNews(): Promise<void> {
    const { client, narrator, signal } = this.#stage
    const history = client.sagas.history(this.#sagaId, { limit: 200, signal })
    for await (const item of history) {
      if (item.seq <= this.#told) continue
      for (const moment of this.#timeline.read(item)) narrator.moment(moment)
      this.#told = item.seq
    }
  }
}
