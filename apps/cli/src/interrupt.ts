/**
 * The wish to stop: Ctrl-C, SIGTERM, a closed terminal, a reader that went away, or a parent that was killed without a
 * word (npm hands on no signal). It comes once; a second Ctrl-C calls `atOnce`.
 */
export type Interrupt = {
  signal: AbortSignal
  /** The status to end with if what was asked for is left unfinished. */
  status(): number
  end(): void
}

/** One Ctrl-C may arrive several times: from the terminal, and from each parent that hands it on. */
const ECHO_MS = 300

export function listenForInterrupt(atOnce: () => Promise<void>): Interrupt {
  const controller = new AbortController()
  let status = 0
  let since = 0
  const stop = (why: number) => () => {
    if (controller.signal.aborted) {
      if (why === 130 && performance.now() - since > ECHO_MS) void atOnce()
      return
    }
    status = why
    since = performance.now()
    controller.abort()
  }
  const listeners = { SIGINT: stop(130), SIGTERM: stop(143), SIGHUP: stop(129) }
  for (const [name, listener] of Object.entries(listeners)) process.on(name, listener)

  const brokenPipe = stop(141)
  process.stdout.on('error', brokenPipe)

  const parent = process.ppid
  const orphaned = stop(143)
  const watch = setInterval(() => process.ppid !== parent && orphaned(), 250)
  watch.unref()

  return {
    signal: controller.signal,
    status: () => status,
    end() {
      for (const [name, listener] of Object.entries(listeners)) process.off(name, listener)
      process.stdout.off('error', brokenPipe)
      clearInterval(watch)
    },
  }
}
