// For services that sagas call and that keep their data in Postgres.

export { type Barrier, type BarrierOptions, createBarrier, type OnceOptions, type Work } from './barrier.ts'
export { type Callback, callbackOf } from './callback.ts'
export type { Outcome } from './decision.ts'
export {
  type Answer,
  type ConnectedClient,
  type Endpoint,
  type EndpointCall,
  type EndpointOptions,
  type EndpointRequest,
  sagaEndpoint,
} from './endpoint.ts'
export { type FastifyHandler, fastifyHandler } from './fastify.ts'
export { type HandleOptions, handleSagaCall } from './node-http.ts'
export { type SagaCall, type SagaHeaders, sagaCallOf } from './saga-call.ts'
export {
  type SignatureOptions,
  type SignatureVerdict,
  type SignedRequest,
  verifySignature,
} from './signature.ts'
export type { Queryable } from './table.ts'
export { verifyWebhook, type WebhookOptions, type WebhookRequest, type WebhookVerdict } from './webhook.ts'
