import { createWorker } from '@backstitch/engine'
import { quiet, sagaOf } from './installation.ts'
import { now } from './now.ts'
import { patientSagaOf } from './recovery/outage.ts'

/** A worker in a process of its own, every setting at its default but the number of sagas it holds. */

const {
  DATABASE_URL = '',
  CONCURRENCY = '200',
  STEP_MS = '0',
  LEASE_MS = '30000',
  SERVICE_URL = '',
  TELL = '',
} = process.env
const order = sagaOf({
  name: 'order',
  steps: 3,
  stepMs: Number(STEP_MS),
  onCall: (step) => {
    if (TELL !== '' && step === 0) process.send?.({ calledAt: now() })
  },
})
const worker = createWorker({
  databaseUrl: DATABASE_URL,
  sagas: [SERVICE_URL === '' ? order : patientSagaOf(SERVICE_URL)],
  concurrency: Number(CONCURRENCY),
  leaseMs: Number(LEASE_MS),
  log: quiet(),
})
await worker.start()
process.send?.('ready')
process.on('disconnect', () => void worker.stop(0).then(() => process.exit(0)))
