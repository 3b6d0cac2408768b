import {
  Bulk,
  BulkItem,
  type BulkItemState,
  BulkPreview,
  pageOf,
  type StartBulkInput,
} from '@backstitch/core'
import type { ListOptions } from './definitions.ts'
import { type Listing, listing } from './listing.ts'
import type { CallOptions, Transport } from './transport.ts'

/** Which sagas, by a filter as of the list or by their ids; the verb; and why. */
export type BulkRequest = Omit<StartBulkInput, 'dryRun'>

export type BulkClient = {
  /** One verb for many sagas. Requests with the same key are one; without one, the client makes one up for this call. */
  start(request: BulkRequest, options?: CallOptions & { idempotencyKey?: string | undefined }): Promise<Bulk>
  /** How many the verb would be possible for at present, and why not for the others. Nothing is done. */
  dryRun(request: BulkRequest, options?: CallOptions): Promise<BulkPreview>
  get(bulkId: string, options?: CallOptions): Promise<Bulk>
  /** Newest first. */
  list(options?: ListOptions): Listing<Bulk>
  /** What came of each saga. */
  items(bulkId: string, options?: ListOptions & { state?: BulkItemState | undefined }): Listing<BulkItem>
  /** When this is answered nothing more is done; what has been done stays so. */
  abort(bulkId: string, options?: CallOptions): Promise<Bulk>
}

const BulkPage = pageOf(Bulk)
const ItemPage = pageOf(BulkItem)

export function bulkClient(call: Transport): BulkClient {
  return {
    async start(request, { idempotencyKey = crypto.randomUUID(), ...options } = {}) {
      const headers = { 'idempotency-key': idempotencyKey }
      return call({ method: 'POST', path: ['bulk'], body: request, headers, repeatable: true }, Bulk, options)
    },

    async dryRun(request, options) {
      const body = { ...request, dryRun: true }
      return call({ method: 'POST', path: ['bulk'], body, repeatable: true }, BulkPreview, options)
    },

    async get(bulkId, options) {
      return call({ method: 'GET', path: ['bulk', bulkId], repeatable: true }, Bulk, options)
    },

    list({ limit, ...options } = {}) {
      return listing((cursor) =>
        call(
          { method: 'GET', path: ['bulk'], query: { limit, cursor }, repeatable: true },
          BulkPage,
          options,
        ),
      )
    },

    items(bulkId, { limit, state, ...options } = {}) {
      const path = ['bulk', bulkId, 'items']
      return listing((cursor) =>
        call({ method: 'GET', path, query: { limit, state, cursor }, repeatable: true }, ItemPage, options),
      )
    },

    async abort(bulkId, options) {
      return call({ method: 'POST', path: ['bulk', bulkId, 'abort'], repeatable: true }, Bulk, options)
    },
  }
}
