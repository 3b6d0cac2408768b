import { createHmac } from 'node:crypto'
import type { Leash } from '@backstitch/addresses'
import { sanitizeText } from '@backstitch/core'
import type { DueDelivery, Sent, WorkerStore } from '@backstitch/store'
import type { Logger } from 'pino'
import { Agent, request } from 'undici'
import { createComplaints } from './complaints.ts'
import { leashedConnector } from './leashed.ts'
import { createNap } from './nap.ts'
import { retryAfterOf } from './response-headers.ts'

/**
 * Tells those who asked for it (S34), as Standard Webhooks say: signed, at least once, with the same id however often. What is not
 * taken is sent again over three days.
 */
export type WebhookSender = {
  start(): void
  /** What is under way may end, within a second. */
  stop(): Promise<void>
}

/** After the n-th attempt; with some chance, so that what failed together does not come again together. */
const RETRY_MS = [
  5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000, 86_400_000,
]
const ANSWER_MS = 15_000
/** Of an answer nobody reads more than this, and that only for the error's text. */
const MAX_ANSWER_BYTES = 1_024
const LOOK_MS = 1_000
const EACH = 4
const LAST_MS = 1_000

export function createWebhookSender({
  store,
  leash,
  log,
}: {
  store: Pick<WorkerStore, 'webhooks'>
  /** Addresses are what callers say. */
  leash: Leash
  log: Logger
}): WebhookSender {
  const complain = createComplaints(log)
  const agent = new Agent({
    connect: leashedConnector(leash, ANSWER_MS),
    headersTimeout: ANSWER_MS,
    bodyTimeout: ANSWER_MS,
    maxResponseSize: 64 * 1024,
  })
  /** Under way, by webhook. */
  const busy = new Map<string, number>()
  const underWay = new Set<Promise<void>>()
  let stopped = false
  let looping: Promise<void> | undefined
  const nap = createNap()

  async function loop(): Promise<void> {
    while (!stopped) {
      let taken = 0
      try {
        const due = await store.webhooks.takeDue(EACH, busy)
        taken = due.length
        for (const delivery of due) begin(delivery)
      } catch (error) {
        complain(error, 'looking for deliveries failed; trying again')
      }
      if (stopped) return
      await nap.sleep(taken > 0 ? 50 : LOOK_MS)
    }
  }

  function begin(delivery: DueDelivery): void {
    const { webhookId } = delivery
    busy.set(webhookId, (busy.get(webhookId) ?? 0) + 1)
    const sending = deliver(delivery)
      .catch((error: unknown) =>
        complain(error, 'what became of a delivery could not be noted; it is sent again'),
      )
      .finally(() => {
        const left = (busy.get(webhookId) ?? 1) - 1
        if (left === 0) busy.delete(webhookId)
        else busy.set(webhookId, left)
        underWay.delete(sending)
        if (!stopped) nap.ring()
      })
    underWay.add(sending)
  }

  async function deliver(delivery: DueDelivery): Promise<void> {
    const sent = await send(delivery)
    const { disabled } = await store.webhooks.settle(delivery, sent)
    const { deliveryId, webhookId, attempts, type } = delivery
    if (sent.is === 'delivered') log.debug({ deliveryId, webhookId, type }, 'a webhook was told')
    else log.warn({ deliveryId, webhookId, type, attempts, error: sent.error }, 'a webhook was not told')
    if (disabled) log.error({ webhookId }, 'a webhook was disabled: nobody is told there any more')
  }

  async function send(delivery: DueDelivery): Promise<Sent> {
    const body = JSON.stringify(delivery.event)
    const timestamp = Math.floor(Date.now() / 1_000)
    const againMs = retryMs(delivery.attempts)
    try {
      const {
        statusCode,
        headers,
        body: answer,
      } = await request(delivery.url, {
        method: 'POST',
        dispatcher: agent,
        signal: AbortSignal.timeout(ANSWER_MS),
        headers: {
          'content-type': 'application/json',
          'user-agent': 'backstitch-webhooks',
          'webhook-id': delivery.deliveryId,
          'webhook-timestamp': String(timestamp),
          'webhook-signature': signaturesOf(delivery, timestamp, body),
        },
        body,
      })
      const text = await firstOf(answer)
      if (statusCode >= 200 && statusCode < 300) return { is: 'delivered', status: statusCode }
      const error = sanitizeText(`it answered ${statusCode} ${text}`.trim(), MAX_ANSWER_BYTES)
      if (statusCode === 410)
        return { is: 'failed', status: statusCode, error, againMs: undefined, gone: true }
      const wished = retryAfterOf(headers) ?? 0
      return { is: 'failed', status: statusCode, error, againMs: againMs && Math.max(againMs, wished) }
    } catch (error) {
      const text = error instanceof Error ? error.message || error.name : String(error)
      return { is: 'failed', error: sanitizeText(text, MAX_ANSWER_BYTES), againMs }
    }
  }

  return {
    start() {
      looping ??= loop()
    },
    async stop() {
      stopped = true
      nap.ring()
      await looping
      // Whoever stops us does not wait for a receiver that does not answer: it is told again, by another.
      await Promise.race([
        Promise.all(underWay),
        new Promise((resolve) => setTimeout(resolve, LAST_MS).unref()),
      ])
      await agent.destroy()
    },
  }
}

function retryMs(attempts: number): number | undefined {
  const ms = RETRY_MS[attempts - 1]
  return ms === undefined ? undefined : Math.round(ms * (1 + Math.random() / 5))
}

/** One for each secret that is valid now, so that a secret can be changed without a gap. */
export function signaturesOf(
  { deliveryId, secrets }: Pick<DueDelivery, 'deliveryId' | 'secrets'>,
  timestamp: number,
  body: string,
): string {
  return secrets
    .map((secret) => {
      const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
      return `v1,${createHmac('sha256', key).update(`${deliveryId}.${timestamp}.${body}`).digest('base64')}`
    })
    .join(' ')
}

async function firstOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of body) {
    parts.push(part)
    length += part.length
    if (length >= MAX_ANSWER_BYTES) break
  }
  return Buffer.concat(parts).subarray(0, MAX_ANSWER_BYTES).toString('utf8')
}
