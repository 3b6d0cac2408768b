import { Child, type ChildEvent, type ChildSpec } from './child.ts'

/** All our processes, and the order in which they go: those that use something before what they use. */

export type Layer = 'worker' | 'api' | 'participants'

/** How long each may take to stop before it is made to. A worker lets the attempts that are running end. */
const STOP_ORDER: { layer: Layer; withinMs: number }[] = [
  { layer: 'worker', withinMs: 8000 },
  { layer: 'api', withinMs: 4000 },
  { layer: 'participants', withinMs: 2000 },
]

export class Supervisor {
  readonly #children: { layer: Layer; child: Child }[] = []
  readonly #tell: (event: ChildEvent) => void
  #stopping = false

  constructor(tell: (event: ChildEvent) => void) {
    this.#tell = tell
  }

  add(layer: Layer, spec: ChildSpec): Child {
    if (this.#stopping) throw new Error(`${spec.name} comes too late: everything is being stopped`)
    const child = new Child(spec, this.#tell)
    this.#children.push({ layer, child })
    return child
  }

  async stop(): Promise<void> {
    this.#stopping = true
    for (const { layer, withinMs } of STOP_ORDER) {
      const going = this.#children.filter((one) => one.layer === layer)
      await Promise.all(going.map(({ child }) => child.stop(withinMs)))
    }
  }

  /** At once, all of them. */
  async kill(): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#children.map(({ child }) => child.stop(0)))
  }
}
