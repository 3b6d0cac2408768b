export type { AttemptEnd, AttemptRequest } from './attempt/attempt.ts'
export type { CounterSnapshot } from './counters.ts'
export { createWorker, type Worker, type WorkerOptions } from './worker.ts'
