/** A sleep that others may end. Who rings while nobody sleeps ends the next one before it begins. */
export type Nap = {
  /** Answers whether somebody rang. */
  sleep(ms: number): Promise<boolean>
  ring(): void
}

export function createNap(): Nap {
  let rung = false
  let end: () => void = () => undefined
  return {
    async sleep(ms) {
      if (!rung) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms)
          end = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      }
      const wasRung = rung
      rung = false
      return wasRung
    },
    ring() {
      rung = true
      end()
    },
  }
}
