// Writing a saga.

export {
  defineSaga,
  type NoResults,
  type Saga,
  type SagaOptions,
  type SagaWithSteps,
  type Steps,
} from './define-saga.ts'
export { type HttpCall, type HttpProbeRequest, type HttpRequest, type HttpTarget, http } from './http.ts'
export { StepFailed, StepRejected, StepUncertain } from './outcomes.ts'
export type { ActionCall, CompensationCall, RetryOptions } from './step.ts'

// Starting sagas, and looking after them.

export { type Client, createClient } from './client/client.ts'
export type { Definable, DefinitionsClient, ListOptions } from './client/definitions.ts'
export type { Listing } from './client/listing.ts'
export type { BatchStart, OperatorOptions, SagasClient, StartOptions, VerbOptions } from './client/sagas.ts'
export type { ChangeOptions, ScheduleDetails, SchedulesClient } from './client/schedules.ts'
export type { CallOptions, ClientOptions, Fetch } from './client/transport.ts'
export { BackstitchError } from './errors.ts'

// The words both use: what the API answers.

export type {
  Accepted,
  CompensateWhen,
  Definition,
  DefinitionPlan,
  DefinitionSummary,
  DefinitionVersion,
  Direction,
  HistoryItem,
  Json,
  JsonProblem,
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
  Worker,
} from '@backstitch/core'
export { delay, signal, type WaitCall } from './wait.ts'
