import type { Client, SagaSnapshot } from '@backstitch/sdk'
import type { Child } from '../child.ts'
import type { Narrator } from '../narrator.ts'

/** Where the stories take place. */
export type Stage = {
  client: Client
  /** The version of the definition `order` that calls our participants. */
  version: number
  participantsUrl: string
  workers: readonly Child[]
  narrator: Narrator
  /** What a person calls the worker with this id. */
  nameOf: (workerId: string) => string
  /** Aborted when the demo is to stop. */
  signal: AbortSignal
}

export type Story = {
  title: string
  about: string
  tell(stage: Stage): Promise<Told>
}

/** Whether it ended as it should have, and the saga it was about. */
export type Told = { right: boolean; sagaId: string | undefined }

export const DECLINED_CARD = '4000-0000-0000-0002'

export type OrderInput = {
  orderId: string
  sku: string
  quantity: number
  card: string
  shipping?: 'slow'
}

export function order(orderId: string, more: Partial<OrderInput> = {}): OrderInput {
  return { orderId, sku: 'linen', quantity: 2, card: '4000-0000-0000-0000', ...more }
}

export async function startOrder(stage: Stage, input: OrderInput): Promise<SagaSnapshot> {
  const { client, version, narrator, signal } = stage
  const saga = await client.sagas.start('order', input, { version, signal })
  narrator.aside(`order ${input.orderId}, saga ${saga.sagaId}`)
  return saga
}

/** From its start to its end, by the saga's own clock. */
export function lifetimeMs({ startedAt, endedAt }: SagaSnapshot): number {
  return endedAt === undefined ? 0 : Date.parse(endedAt) - Date.parse(startedAt)
}
