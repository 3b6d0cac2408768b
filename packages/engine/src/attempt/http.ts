import type { Leash } from '@backstitch/addresses'
import { Agent, type Dispatcher } from 'undici'
import { leashedConnector } from '../leashed.ts'
import type { ResponseHeaders } from '../response-headers.ts'
import type { AttemptEnd, AttemptRequest } from './attempt.ts'
import { Answer } from './http-answer.ts'
import { ended, lost, notSent } from './http-end.ts'
import { type CallOptions, type HttpCall, type Prepared, prepare } from './http-request.ts'
import { startTimer } from './timer.ts'

/**
 * Attempts carried out by an HTTP service. Each answer, and each way of not getting one, becomes one outcome:
 *
 *   succeeded   2xx, whole and acceptable
 *   rejected    3xx, 4xx but 408, 425 and 429, and a request that cannot be made at all
 *   failed      425, 429, and whatever ended before the request could have left this process
 *   uncertain   408, 5xx, time-out, abort, a lost or unreadable answer, a result that cannot be taken
 *
 * 1. Nothing is sent twice, no redirect is followed, and `call` never throws.
 * 2. A time-out covers everything from waiting for a connection to the last byte of the body.
 * 3. A call that ends before its answer destroys its connection at once.
 * 4. A status other than 2xx decides alone: losing the body after it changes nothing but the message.
 */
export type HttpCaller = {
  /** Never throws or rejects. */
  call(action: HttpCall, request: AttemptRequest, options?: CallOptions): Promise<AttemptEnd>
  /** Takes no more calls, waits for those under way (each has its time-out) and closes every connection. */
  close(): Promise<void>
}

const CONNECT_TIMEOUT_MS = 10_000
/**
 * A server that closes an idle connection just as the next request leaves makes that attempt uncertain. So ours end
 * first: common servers wait from 2 s (gunicorn) over 5 s (Node, Apache) to 75 s (nginx). A server's own
 * `Keep-Alive: timeout` can only shorten this.
 */
const KEEP_ALIVE_MS = 1500
const KEEP_ALIVE_MARGIN_MS = 1000

export function createHttpCaller({
  connections = 128,
  leash,
}: {
  connections?: number
  /** Where the address is a definition's. */
  leash?: Leash | undefined
} = {}): HttpCaller {
  const agent = new Agent({
    connections,
    pipelining: 1,
    allowH2: false,
    connectTimeout: CONNECT_TIMEOUT_MS,
    ...(leash !== undefined && { connect: leashedConnector(leash, CONNECT_TIMEOUT_MS) }),
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
    keepAliveTimeoutThreshold: KEEP_ALIVE_MARGIN_MS,
    // The call's own timer covers both.
    headersTimeout: 0,
    bodyTimeout: 0,
  })
  let underWay = 0
  let closed: Promise<void> | undefined
  let drained = () => {}

  async function drain(): Promise<void> {
    if (underWay > 0) {
      await new Promise<void>((resolve) => {
        drained = resolve
      })
    }
    await agent.destroy()
  }

  return {
    call(action, request, options = {}) {
      if (closed !== undefined) return Promise.resolve(ended('failed', 'CLOSED', 'this worker is stopping'))
      const prepared = prepare(action, request, options)
      if ('outcome' in prepared) return Promise.resolve(prepared)

      underWay++
      return new Promise((resolve) => {
        const secrets = [...(options.identity?.secrets ?? []), ...headerSecrets(action, options.identity)]
        const mayPend = request.callback !== undefined && options.isProbe !== true
        const call = new Call(prepared.origin, { ...options, secrets, mayPend }, request, (end) => {
          underWay--
          if (underWay === 0) drained()
          resolve(end)
        })
        call.begin(agent, prepared)
      })
    },
    close() {
      closed ??= drain()
      return closed
    },
  }
}

/** A participant may echo what it was sent, and a header may hold a secret. */
function headerSecrets({ headers }: HttpCall, identity: CallOptions['identity']): string[] {
  return Object.values({ ...headers, ...identity?.headers })
    .flatMap((value) => value.split(/[\t ]+/))
    .filter((part) => part.length >= 8)
}

type Reading = Pick<CallOptions, 'onStatus'> & { secrets: readonly string[]; mayPend: boolean }

/** Ends undici's side of a call whose outcome is decided. */
const OVER = new Error('the call is over')

/** Undici tells it what happens to the request. None of its methods may throw, but `onRequestStart`. */
class Call implements Dispatcher.DispatchHandler {
  private readonly origin: string
  private readonly options: Reading
  private readonly request: AttemptRequest
  private readonly done: (end: AttemptEnd) => void

  /** Present from the moment the request may be on its way. */
  private controller: Dispatcher.DispatchController | undefined
  private answer: Answer | undefined
  private stopTimer: () => void = () => undefined
  private over = false

  constructor(origin: string, options: Reading, request: AttemptRequest, done: (end: AttemptEnd) => void) {
    this.origin = origin
    this.options = options
    this.request = request
    this.done = done
  }

  begin(agent: Agent, prepared: Prepared): void {
    const { signal, timeoutMs } = this.request
    if (signal.aborted) {
      this.aborted()
      return
    }
    signal.addEventListener('abort', this.aborted, { once: true })
    this.stopTimer = startTimer(timeoutMs, () => this.timedOut())
    agent.dispatch(prepared, this)
  }

  private readonly aborted = (): void => {
    this.end(ended('uncertain', 'ABORTED', 'the attempt was called off before its answer was complete'))
  }

  private timedOut(): void {
    const { timeoutMs } = this.request
    const nothingSent = `no connection to ${this.origin} within ${timeoutMs} ms; nothing was sent`
    const noAnswer = `no complete answer from ${this.origin} within ${timeoutMs} ms`
    if (this.controller === undefined) this.end(ended('failed', 'CONNECT_TIMEOUT', nothingSent))
    else this.end(this.answer?.brokenOff() ?? ended('uncertain', 'TIMEOUT', noAnswer))
  }

  /** The connection is made, and what follows is the writing of the request. Throwing keeps it from being written. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.over) throw OVER
    this.controller = controller
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: ResponseHeaders,
  ): void {
    if (this.over || status < 200) return
    this.options.onStatus?.(status)
    this.answer = new Answer(status, headers, this.options.secrets, this.options.mayPend)
    if (this.answer.isTooLong()) this.end(this.answer.cutOff())
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.over || this.answer === undefined) return
    this.answer.take(chunk)
    if (this.answer.isTooLong()) this.end(this.answer.cutOff())
  }

  onResponseEnd(): void {
    if (this.over || this.answer === undefined) return
    // The connection is good for the next call.
    this.controller = undefined
    this.end(this.answer.complete())
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (this.over) return
    const sent = this.controller !== undefined
    this.end(this.answer?.brokenOff() ?? (sent ? lost(error, this.origin) : notSent(error, this.origin)))
  }

  private end(end: AttemptEnd): void {
    if (this.over) return
    this.over = true
    this.stopTimer()
    this.request.signal.removeEventListener('abort', this.aborted)
    // Destroys the connection. A call that has none yet is stopped by `onRequestStart`.
    this.controller?.abort(OVER)
    this.done(end)
  }
}
