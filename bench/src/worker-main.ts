import { createWorker } from '@backstitch/engine'
import { quiet, sagaOf } from './installation.ts'

/** A worker in a process of its own, every setting at its default but the number of sagas it holds. */

const { DATABASE_URL = '', CONCURRENCY = '200', STEP_MS = '0', TELL = '' } = process.env
const saga = sagaOf({
  name: 'order',
  steps: 3,
  stepMs: Number(STEP_MS),
  onCall: (step) => {
    if (TELL !== '' && step === 0) process.send?.({ calledAt: now() })
  },
})
const worker = createWorker({
  databaseUrl: DATABASE_URL,
  sagas: [saga],
  concurrency: Number(CONCURRENCY),
  log: quiet(),
})
await worker.start()
process.send?.('ready')
process.on('disconnect', () => void worker.stop(0).then(() => process.exit(0)))

/** The same clock in every process of this machine. */
function now(): number {
  return performance.timeOrigin + performance.now()
}
