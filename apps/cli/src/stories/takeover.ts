import type { SagaSnapshot } from '@backstitch/sdk'
import type { Child } from '../child.ts'
import { duration, seconds } from '../narrator.ts'
import { endedAs, holds, is, standing } from './check.ts'
import { Follower } from './follow.ts'
import { operations, readLedger } from './ledger.ts'
import { lifetimeMs, order, type Stage, type Story, startOrder, type Told } from './story.ts'

const STEPS = ['reserveInventory', 'chargePayment', 'shipOrder', 'sendConfirmation']
/** Others may run workers on the same database, and theirs are not ours to kill: then another order is tried. */
const ORDERS = 10

export const takeover: Story = {
  title: 'A worker is killed in the middle of a step',
  about:
    'The carrier is slow. Meanwhile the worker is killed: it can neither clean up nor tell anybody. Another one ' +
    'repeats the step it was in, under the same idempotency key.',
  async tell(stage) {
    const { narrator } = stage
    const scene = await atTheCarrier(stage)
    if ('instead' in scene) {
      narrator.ending('', [holds('a worker should hold the order at shipOrder', false, scene.instead)])
      return { right: false, sagaId: undefined }
    }
    try {
      return await killedWorker(stage, scene)
    } finally {
      await scene.victim.revive()
    }
  },
}

async function killedWorker(stage: Stage, { sagaId, follower, victim, victimId }: Scene): Promise<Told> {
  const { narrator, nameOf } = stage
  const { name, pid } = victim
  await victim.killAndHold()
  const killedAt = performance.now()
  narrator.aside(`✗ ${name} is killed (SIGKILL, process ${pid}) in the middle of shipOrder`, 'bad')

  const isAnother = ({ next }: SagaSnapshot) => next.worker !== undefined && next.worker !== victimId
  const taken = await follower.until(isAnother, 30_000)
  const heir = taken.next.worker
  if (heir !== undefined && heir !== victimId) {
    const after = seconds(performance.now() - killedAt)
    narrator.aside(`✓ ${nameOf(heir)} takes over ${after} after the kill, at the same step`, 'good')
  }
  const saga = await follower.toTheEnd(30_000)
  const entries = await readLedger(stage, sagaId)
  const received = operations(entries, 'received').filter((operation) => operation === 'shipOrder')
  const checks = [
    ...endedAs(saga, 'completed'),
    is('every step should be completed, in order', saga.completedSteps, STEPS),
    holds('another worker should have taken over', heir !== undefined && heir !== victimId, heir ?? 'none'),
    holds('the carrier should have been asked twice', received.length >= 2, `${received.length} calls`),
    is('the ledger should show every effect once, in order', operations(entries, 'applied'), STEPS),
  ]
  const took = duration(lifetimeMs(saga))
  narrator.ending(
    `Completed in ${took}. The carrier was asked ${times(received.length)}, and shipped exactly once.`,
    checks,
  )
  return { right: checks.every((check) => check.holds), sagaId }
}

type Scene = { sagaId: string; follower: Follower; victim: Child; victimId: string }

/** An order that one of our workers holds, with the carrier at work on it. */
async function atTheCarrier(stage: Stage): Promise<Scene | { instead: string }> {
  for (let number = 1; number <= ORDERS; number++) {
    const { sagaId } = await startOrder(
      stage,
      order(`o-3${number === 1 ? '' : `-${number}`}`, { shipping: 'slow' }),
    )
    const follower = new Follower(stage, sagaId)
    const isShipping = async ({ next }: SagaSnapshot) =>
      next.worker !== undefined &&
      operations(await readLedger(stage, sagaId), 'received').includes('shipOrder')
    const saga = await follower.until(isShipping, 15_000)
    const holder = saga.next.worker
    if (holder === undefined) return { instead: standing(saga) }
    const alive = await stage.client.workers({ signal: stage.signal }).toArray()
    const pid = alive.find(({ workerId }) => workerId === holder)?.pid
    const victim = stage.workers.find((worker) => worker.pid !== undefined && worker.pid === pid)
    if (victim !== undefined) return { sagaId, follower, victim, victimId: holder }
    stage.narrator.aside('this order is held by a worker of another program; trying another one')
  }
  return { instead: `${ORDERS} orders, each held by a worker of another program` }
}

function times(count: number): string {
  return count === 2 ? 'twice' : `${count} times`
}
