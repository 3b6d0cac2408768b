/** A question that costs something, asked by many: one asks for all, and the answer is good for a while. An error is not kept. */
export function shared<T>(ask: () => Promise<T>, keepMs: number): () => Promise<T> {
  let answer: Promise<T> | undefined
  let goodUntil = 0

  return () => {
    if (answer !== undefined && performance.now() < goodUntil) return answer
    goodUntil = Number.POSITIVE_INFINITY
    const asked = ask()
    answer = asked
    asked.then(
      () => {
        goodUntil = performance.now() + keepMs
      },
      () => {
        goodUntil = 0
      },
    )
    return asked
  }
}
