import {
  type Act,
  type Direction,
  type Finding,
  type Probe,
  type Probed,
  readProbe,
  renderRequest,
  sanitizeText,
} from '@backstitch/core'
import type { AttemptEnd, AttemptRequest } from './attempt.ts'
import { succeeded } from './http-end.ts'
import type { Services } from './services.ts'
import { valuesOf } from './values.ts'

/** Asks a participant what became of an earlier attempt, or of this one. Never rejects. */
export type Ask = (probe: Probe, request: AttemptRequest) => Promise<Finding>

/** Is there anything to ask? */
export function hasProbes({ probe, actionProbe }: Act): boolean {
  return probe !== undefined || actionProbe !== undefined
}

/**
 * Makes an attempt of a step whose outcome may be in doubt: its participant is asked before anything is repeated or undone,
 * and after an outcome that nobody knows.
 *
 * 1. A question uses up no attempt, and its failure leaves things as they were.
 * 2. Only a promise withdraws an uncertainty (`willNotHappen`, core/probe.ts); the attempt then counts as failed.
 * 3. Whoever was called off asks nothing more: the saga may be another worker's.
 */
export async function withProbes(
  act: Act,
  request: AttemptRequest,
  ask: Ask,
  make: (request: AttemptRequest) => Promise<AttemptEnd>,
): Promise<AttemptEnd> {
  const { direction, doubt, signal } = request
  const probes: Probed[] = []
  let inDoubt = doubt?.own === true

  async function find(probe: Probe, about: AttemptRequest): Promise<Finding> {
    const finding = await ask(probe, about)
    const why = finding.answer === 'unknown' ? { why: sanitizeText(finding.why, MAX_WHY_BYTES) } : {}
    probes.push({ of: about.direction, answer: finding.answer, ...why })
    return finding
  }
  const told = (end: AttemptEnd): AttemptEnd => (probes.length === 0 ? end : { ...end, probes })

  if (inDoubt && act.probe !== undefined) {
    const finding = await find(act.probe, request)
    if (finding.answer === 'happened') return told(succeeded(finding.result))
    inDoubt = finding.answer !== 'willNotHappen'
  }
  let given = request
  if (direction === 'compensation' && doubt?.action !== undefined && act.actionProbe !== undefined) {
    const finding = await find(act.actionProbe, aboutTheAction(request, doubt.action.idempotencyKey))
    // Nothing was done, nothing will be, and so there is nothing to undo.
    if (finding.answer === 'willNotHappen') return told(succeeded(null))
    if (finding.answer === 'happened') given = { ...request, result: finding.result }
  }

  if (signal.aborted) return told(CALLED_OFF)
  const end = await make(given)
  if (!('error' in end) || act.probe === undefined || signal.aborted) return told(end)
  const isOver = end.outcome === 'rejected' || request.attempt >= act.retry.maxAttempts
  if (end.outcome !== 'uncertain' && !(inDoubt && isOver)) return told(end)
  const finding = await find(act.probe, request)
  if (finding.answer === 'happened') return told(succeeded(finding.result))
  if (finding.answer === 'willNotHappen' && end.outcome === 'uncertain') {
    return told({ ...end, outcome: 'failed' })
  }
  return told(end)
}

const MAX_WHY_BYTES = 512

export const CALLED_OFF: AttemptEnd = {
  outcome: 'failed',
  error: { code: 'ABORTED', message: 'the attempt was called off before it had begun' },
}

function aboutTheAction(request: AttemptRequest, idempotencyKey: string): AttemptRequest {
  const direction: Direction = 'action'
  return { ...request, direction, idempotencyKey, result: undefined, failure: undefined }
}

export function createAsk(services: Services): Ask {
  return async (probe, request) => {
    const values = valuesOf(request)
    const rendered = renderRequest(probe.request, values)
    if (!rendered.ok) return unknown(`at ${rendered.pointer}: ${rendered.detail}`)
    const service = services.of(probe.call)
    if (service === undefined) return unknown(`this worker knows no service "${probe.call.service}"`)
    const { headers, body } = rendered.value
    let status = 0
    const end = await service.caller.call(
      {
        method: probe.call.method,
        url: service.urlOf(rendered.value),
        headers,
        ...(body !== undefined && { body }),
      },
      { ...request, timeoutMs: probe.timeoutMs, callback: undefined },
      {
        identity: service.identity,
        isProbe: true,
        onStatus: (answered) => {
          status = answered
        },
      },
    )
    if (end.outcome === 'succeeded') return readProbe(probe, { status, body: end.result }, values)
    // A rejection is an answer, if it came from there: its status may say all there is to know.
    if (end.outcome === 'rejected' && status >= 400) return readProbe(probe, { status, body: null }, values)
    return unknown('error' in end ? `${end.error.code}: ${end.error.message}` : 'it answers later')
  }
}

function unknown(why: string): Finding {
  return { answer: 'unknown', why }
}
