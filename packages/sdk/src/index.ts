// Writing a saga.

export {
  defineSaga,
  type Group,
  type NoResults,
  type ParallelOptions,
  type Saga,
  type SagaOptions,
  type SagaWithSteps,
  type Steps,
} from './define-saga.ts'
export { type HttpCall, type HttpProbeRequest, type HttpRequest, type HttpTarget, http } from './http.ts'
export { StepFailed, StepRejected, StepUncertain } from './outcomes.ts'
export { type ChildCall, type ChildResult, saga, type WithExpressions } from './saga.ts'
export type { ActionCall, CompensationCall, RetryOptions } from './step.ts'
export { delay, signal, type WaitCall } from './wait.ts'

// Starting sagas, and looking after them.

export type { BulkClient, BulkRequest } from './client/bulk.ts'
export type { CallbackError, CallbackOptions, CallbacksClient } from './client/callbacks.ts'
export { type Client, createClient } from './client/client.ts'
export type { Definable, DefinitionsClient, ListOptions } from './client/definitions.ts'
export type { EventOptions, EventsClient, FollowOptions } from './client/events.ts'
export type { Listing } from './client/listing.ts'
export type {
  BatchStart,
  LiveOptions,
  OperatorOptions,
  RetryVerbOptions,
  SagasClient,
  StartOptions,
  VerbOptions,
} from './client/sagas.ts'
export type { ChangeOptions, ScheduleDetails, SchedulesClient } from './client/schedules.ts'
export type { CallOptions, ClientOptions, Fetch } from './client/transport.ts'
export type { WebhooksClient } from './client/webhooks.ts'
export { BackstitchError } from './errors.ts'

// The words both use: what the API answers.

export type {
  Accepted,
  Bulk,
  BulkFilter,
  BulkItem,
  BulkPreview,
  ChangeWebhook,
  CompensateWhen,
  CreateWebhook,
  Definition,
  DefinitionPlan,
  DefinitionSummary,
  DefinitionVersion,
  Direction,
  EventType,
  FeedEvent,
  FeedPage,
  HistoryItem,
  Json,
  JsonProblem,
  NewWebhook,
  Page,
  RegisteredDefinition,
  Saga as SagaSnapshot,
  SagaFilter,
  SagaSummary,
  Schedule,
  ScheduleChange,
  ScheduleRun,
  ScheduleStarted,
  ScheduleSummary,
  Service,
  ServiceState,
  StartBatchAnswer,
  Stats,
  Status,
  Webhook,
  WebhookDelivery,
  Worker,
} from '@backstitch/core'
