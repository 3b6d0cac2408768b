import { appendFileSync, readFileSync } from 'node:fs'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { amountOf, type Fault, faultOf, type Mix } from './faults.ts'
import type { CallId, LedgerLine } from './records.ts'

/**
 * The participants: a process of its own, with a file of its own, that knows nothing of the engine. What it writes down is
 * what has happened in the world, whatever anybody says afterwards.
 *
 * 1. A line is in the file before its effect is visible to anyone, and no line is ever changed.
 * 2. One key has one effect: whoever sends it again gets the first answer.
 * 3. Below /guarded an undo of what was never done leaves a barrier, and what comes after it is refused. Below /plain nobody
 *    keeps one: what comes late takes effect.
 */

type Settings = { file: string; seed: number; mix: Mix; hangMs: number }
type Call = CallId & { guarded: boolean; told: { amount?: number } | undefined }
/** Of a call, a question and a person's act, one after the other. */
type Body = {
  input?: { label: number }
  result?: { amount?: number }
  key?: string
  sagaId?: string
  step?: string
}
type Answer = { status: number; body: unknown }

const { file, seed, mix, hangMs }: Settings = JSON.parse(readFileSync(0, 'utf8'))

const answers = new Map<string, Answer>()
/** What stands, by saga and step. */
const effects = new Map<string, number>()
const barriers = new Set<string>()
let calls = 0
let underWay = 0
let healed = false
let strays = 0
const asked = new Set<string>()

function note(line: LedgerLine): void {
  appendFileSync(file, `${JSON.stringify(line)}\n`)
}

function take(call: Call): Answer {
  const { key, step, label, sagaId, direction, guarded } = call
  const known = answers.get(key)
  if (known !== undefined) return known
  const answer = direction === 'action' ? act() : undo()
  answers.set(key, answer)
  return answer

  function act(): Answer {
    const place = `${sagaId} ${step}`
    if (barriers.has(place)) return { status: 409, body: { error: 'it was undone before it came' } }
    const amount = amountOf(label, step)
    effects.set(place, amount)
    note({ phase: 'applied', ...idOf(call), effect: 1, amount })
    return { status: 200, body: { receipt: `${label}/${step}`, amount } }
  }

  function undo(): Answer {
    const place = `${sagaId} ${step}`
    const standing = effects.get(place)
    if (guarded) barriers.add(place)
    if (standing === undefined) {
      note({ phase: 'applied', ...idOf(call), effect: 0, amount: 0 })
    } else {
      effects.delete(place)
      // What is given back is what the caller says was taken: a wrong result would show in the money.
      note({ phase: 'applied', ...idOf(call), effect: -1, amount: -(call.told?.amount ?? standing) })
    }
    return { status: 200, body: null }
  }
}

function idOf({ call, sagaId, step, direction, attempt, key, label }: Call) {
  return { call, sagaId, step, direction, attempt, key, label }
}

async function serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  const body: Body = JSON.parse(Buffer.concat(chunks).toString() || '{}')
  const { pathname } = new URL(request.url ?? '/', 'http://ledger')
  if (pathname === '/heal') {
    healed = true
    return void response.end('{}')
  }
  if (pathname === '/quiet') return void response.end(JSON.stringify({ calls, underWay, strays }))
  if (pathname === '/once') return void response.end(JSON.stringify(isFirst(String(body.key))))
  if (pathname === '/by-hand') return void response.end(JSON.stringify(byHand(body)))
  if (pathname === '/stray') {
    strays++
    return void response.end('{}')
  }
  await answer(request, response, callOf(request, body, pathname.startsWith('/guarded')))
}

function callOf({ headers }: http.IncomingMessage, body: Body, guarded: boolean): Call {
  const direction = headers['saga-direction']
  if (direction !== 'action' && direction !== 'compensation') throw new Error('no Saga-Direction')
  return {
    call: ++calls,
    sagaId: String(headers['saga-id']),
    step: String(headers['saga-step']),
    direction,
    attempt: Number(headers['saga-attempt']),
    key: String(headers['idempotency-key']),
    label: Number(body.input?.label),
    guarded,
    told: body.result ?? undefined,
  }
}

async function answer(request: http.IncomingMessage, response: http.ServerResponse, call: Call) {
  const planned = healed ? 'ok' : faultOf(seed, mix, call)
  // Whoever knows the key has said yes to it already, and does not say a definite no now.
  const fault = /^(refuse|redirect)$/.test(planned) && answers.has(call.key) ? 'ok' : planned
  const told = call.direction === 'compensation' && { told: call.told?.amount !== undefined }
  note({ phase: 'received', ...idOf(call), fault, ...told })
  underWay++
  try {
    await misbehave(fault, call, request, response)
  } finally {
    underWay--
  }
}

async function misbehave(
  fault: Fault,
  call: Call,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  const say = (status: number, body: string | Buffer, headers: http.OutgoingHttpHeaders = {}) => {
    note({ phase: 'responded', ...idOf(call), status })
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body)
  }
  const sayIt = ({ status, body }: Answer) => say(status, JSON.stringify(body))
  switch (fault) {
    case 'ok': {
      const url = request.headers['saga-callback-url']
      if (typeof url !== 'string') return sayIt(take(call))
      // Now and then the callback is there before the answer.
      const callingBack = callBack(url, call)
      if (call.label % 2 === 0) await sleep(call.label % 50)
      say(202, '')
      return callingBack
    }
    case 'errorBefore':
      return say(500, '{"error":"before anything was done"}')
    case 'errorAfter':
      take(call)
      return say(500, '{"error":"after it was done"}')
    case 'dropAfter':
      take(call)
      return void request.socket.destroy()
    case 'hangThenApply':
      await sleep(hangMs)
      return sayIt(take(call))
    case 'hang':
      await sleep(hangMs)
      return void request.socket.destroy()
    case 'reset':
      return void request.socket.resetAndDestroy()
    case 'drip': {
      const { status, body } = take(call)
      note({ phase: 'responded', ...idOf(call), status })
      response.writeHead(status, { 'content-type': 'application/json' })
      for (const letter of JSON.stringify(body)) {
        if (response.destroyed) return
        response.write(letter)
        await sleep(8)
      }
      return void response.end()
    }
    case 'busy':
      return say(429, '{"error":"later"}', { 'retry-after': '1' })
    case 'refuse':
      return say(422, '{"error":"never"}')
    case 'huge':
      take(call)
      return say(200, `"${'x'.repeat(2 * 1024 * 1024)}"`)
    case 'crooked':
      take(call)
      return say(200, '{"a":"\\u0000","b":"\\ud800"}')
    case 'redirect':
      return say(302, '', { location: `${origin}/stray` })
  }
}

/** Takes its time, does it, and says so until somebody has heard, or nobody waits for it any more. */
async function callBack(url: string, call: Call): Promise<void> {
  await sleep((call.label * 7) % 200)
  const { status, body } = take(call)
  const refused = { error: { code: 'REFUSED', message: 'never', retryable: false } }
  note({ phase: 'responded', ...idOf(call), status })
  for (let tried = 0; tried < 100; tried++) {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(status === 200 ? { result: body } : refused),
      signal: AbortSignal.timeout(5_000),
    }).catch(() => undefined)
    if (answer !== undefined && answer.status < 500) return
    await sleep(100)
  }
}

/** True for the first that asks. */
function isFirst(key: string): boolean {
  const first = !asked.has(key)
  asked.add(key)
  return first
}

/** A person goes there and undoes it. */
function byHand({ sagaId = '', step = '' }: Body): { undone: boolean } {
  const place = `${sagaId} ${step}`
  const standing = effects.get(place)
  barriers.add(place)
  if (standing === undefined) return { undone: false }
  effects.delete(place)
  const id = {
    call: 0,
    sagaId,
    step,
    direction: 'compensation',
    attempt: 0,
    key: 'by hand',
    label: 0,
  } as const
  note({ phase: 'applied', ...id, effect: -1, amount: -standing })
  return { undone: true }
}

const server = http.createServer((request, response) => {
  response.on('error', () => undefined)
  serve(request, response).catch((error: unknown) => {
    // Nothing here may fail: what is wrong with the ledger is wrong with the verdict.
    if (request.complete) console.error('the ledger failed', error)
    response.destroy()
  })
})
server.keepAliveTimeout = 60_000
let origin = ''
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the ledger has no port')
  origin = `http://127.0.0.1:${address.port}`
  process.send?.({ type: 'ready', url: origin })
})
process.on('disconnect', () => process.exit(0))
