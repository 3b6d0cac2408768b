import type { Worker } from '@backstitch/sdk'
import type { Child } from './child.ts'

/** What a person calls a worker: its id changes with every start, its name does not. */
export class WorkerNames {
  readonly #names = new Map<string, string>()

  /** By what our own processes said when they were ready. */
  learn({ name, ready }: Child): void {
    if (ready?.workerId !== undefined) this.#names.set(ready.workerId, name)
  }

  /** By the process: a worker that was declared dead goes on under a new id. */
  learnFrom(alive: readonly Worker[], children: readonly Child[]): void {
    for (const { workerId, pid } of alive) {
      const child = children.find((one) => one.pid === pid)
      if (child !== undefined) this.#names.set(workerId, child.name)
    }
  }

  of(workerId: string): string {
    return this.#names.get(workerId) ?? workerId.slice(0, 8)
  }
}
