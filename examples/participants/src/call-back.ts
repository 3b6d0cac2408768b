import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import type { Answer } from './ledger.ts'

const PAUSE_MS = 250
const MOST_TRIES = 240
const Refusal = z.object({ type: z.string().optional(), detail: z.string().optional() })

/**
 * Tells how a step has ended that was answered with 202. It is said until it is heard, for a minute: the same words, under the
 * same key, are one callback. A 4xx is heard, too: the saga waits for it no longer, and undoes what it does not know of.
 */
export async function callBack(url: string, key: string, { status, body }: Answer): Promise<boolean> {
  const { type = '', detail = '' } = Refusal.parse(body)
  const error = { code: codeOf(type), message: detail, retryable: false }
  const said = JSON.stringify(status < 300 ? { result: body } : { error })
  for (let tries = 1; tries <= MOST_TRIES; tries++) {
    const headers = { 'content-type': 'application/json', 'Idempotency-Key': key }
    const response = await fetch(url, { method: 'POST', headers, body: said }).catch(() => undefined)
    if (response !== undefined && response.status < 500) return response.ok
    await sleep(PAUSE_MS)
  }
  return false
}

/** `urn:problem:hotel-full` → `HOTEL_FULL` */
function codeOf(type: string): string {
  return type.replace(/^.*:/, '').replaceAll('-', '_').toUpperCase()
}
