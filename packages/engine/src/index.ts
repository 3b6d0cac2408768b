export type { AttemptEnd, AttemptRequest } from './attempt/attempt.ts'
export type { CounterSnapshot } from './counters.ts'
export { readServices, type ServiceConfig, type ServicesConfig } from './service-config.ts'
export { createWorker, createWorkerOn, type Worker, type WorkerOptions } from './worker.ts'
