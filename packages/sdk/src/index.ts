// For those who write steps.
export { defineSaga, type Saga, type SagaOptions, type Steps } from './define-saga.ts'
export { type HttpCall, type HttpRequest, http } from './http.ts'
export { StepFailed, StepRejected, StepUncertain } from './outcomes.ts'
export type { ActionCall, CompensationCall, RetryOptions } from './step.ts'
