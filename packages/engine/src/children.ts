import {
  type AttemptId,
  byteLength,
  type Child,
  contextOf,
  type Decision,
  type Entry,
  type Event,
  editedInput,
  entryOf,
  isChild,
  isTerminal,
  type Json,
  MAX_CHILD_DEPTH,
  MAX_VALUE_BYTES,
  nextOwed,
  type ResolvedDefinition,
  render,
  type SagaState,
  type Spilled,
  startedEntry,
  stepOf,
  type Undo,
  undoEntry,
} from '@backstitch/core'
import type { InputSchemas } from '@backstitch/input-schema'
import {
  bucketOf,
  type ChildStart,
  type DatabaseClock,
  type Definitions,
  type Family,
  type History,
  newSagaId,
  type Registered,
} from '@backstitch/store'

/** Sagas that carry out a step of another, or undo one (M4, M5): how they are started, and what they tell of themselves. */

export type ChildrenParts = {
  definitions: Pick<Definitions, 'get' | 'latest'>
  history: Pick<History, 'values'>
  /** A saga as it stands in its row. */
  sagaState(sagaId: string): Promise<SagaState | undefined>
  schemas: InputSchemas
  clock: DatabaseClock
}

/** A saga that is held: what starting another one is decided on. */
type Holder = {
  readonly definition: ResolvedDefinition
  readonly version: number
  readonly state: SagaState
  readonly spilled: Spilled
}

/** What it comes to, and what rides in the same commit. */
export type Beginning = { event: Event; start?: ChildStart }

/** A step that is due, and the saga that is to be started for it. */
export type ChildDue = { id: AttemptId; way: Child | Undo }

/** The first of these that consists of a saga of its own. */
export function childIn(holder: Holder, due: readonly AttemptId[]): ChildDue | undefined {
  for (const id of due) {
    const way = childOf(holder, id)
    if (way !== undefined) return { id, way }
  }
  return undefined
}

function childOf(holder: Holder, { step, direction }: AttemptId): Child | Undo | undefined {
  const way = stepOf(holder.definition, step)?.[direction]
  if (way === undefined || 'undoes' in way) return way
  return 'starts' in way && isChild(way) ? way : undefined
}

export function startChild(
  holder: Holder,
  id: AttemptId,
  way: Child | Undo,
  parts: ChildrenParts,
): Promise<Beginning> {
  return 'starts' in way ? startForward(holder, id, way, parts) : startUndo(holder, id, parts)
}

async function startForward(
  holder: Holder,
  id: AttemptId,
  { starts, version, input: template }: Child,
  { definitions, schemas, clock }: ChildrenParts,
): Promise<Beginning> {
  const { state } = holder
  const depth = (state.parent?.depth ?? 0) + 1
  if (depth > MAX_CHILD_DEPTH)
    return refused(id, 'CHILD_TOO_DEEP', `${MAX_CHILD_DEPTH} sagas stand above it already`)
  const found = await (version === undefined ? definitions.latest(starts) : definitions.get(starts, version))
  if (found === undefined) {
    const which = version === undefined ? `"${starts}"` : `"${starts}" version ${version}`
    return refused(id, 'UNKNOWN_DEFINITION', `no definition ${which} is registered`)
  }
  const { input, context } = contextOf(state, holder.spilled)
  const saga = {
    id: state.sagaId,
    definition: state.definition.name,
    version: state.definition.version,
    ...id,
  }
  const edited = editedInput(state, holder.spilled, id)
  const rendered =
    template === undefined || edited !== undefined ? undefined : render(template, { input, context, saga })
  if (rendered?.ok === false)
    return refused(id, 'EXPRESSION_FAILED', `at ${rendered.pointer}: ${rendered.detail}`)
  const childInput = edited === undefined ? (rendered?.ok === true ? rendered.value : input) : edited.input
  const inputBytes = byteLength(JSON.stringify(childInput))
  if (inputBytes > MAX_VALUE_BYTES) {
    const detail = `its input would have ${inputBytes} bytes as JSON; the most is ${MAX_VALUE_BYTES}`
    return refused(id, 'INPUT_TOO_LARGE', detail)
  }
  const { inputSchema: schema } = found.document
  const [misfit] =
    schema === undefined
      ? []
      : schemas.misfits({ name: found.name, version: found.version, schema }, childInput, inputBytes)
  if (misfit !== undefined) {
    const detail = `its input does not fit "${found.name}" version ${found.version}: at ${misfit.pointer}: ${misfit.detail}`
    return refused(id, 'INVALID_INPUT', detail)
  }
  const now = clock.now()
  const entry = startedEntry({
    sagaId: newSagaId(now, bucketOf(state.sagaId)),
    definition: found.resolved,
    input: childInput,
    inputBytes,
    now,
    correlationId: state.correlationId,
    traceparent: state.traceparent,
    parent: parentOf(holder, id, depth),
  })
  return started(holder, id, found, entry)
}

async function startUndo(
  holder: Holder,
  id: AttemptId,
  { definitions, history, clock, sagaState }: ChildrenParts,
): Promise<Beginning> {
  const { state } = holder
  const childId = entryOf(state.children, id.step)
  const child = childId === undefined ? undefined : await sagaState(childId)
  const found = child && (await definitions.get(child.definition.name, child.definition.version))
  if (child === undefined || found === undefined) {
    const detail = `saga ${childId ?? '?'}, which carried this step out, cannot be read`
    return refused(id, 'CHILD_UNREADABLE', detail)
  }
  if (child.pivot === 'completed') {
    return refused(id, 'CHILD_PAST_PIVOT', `saga ${child.sagaId} has passed its pivot`)
  }
  if (nextOwed(child, found.resolved).length === 0) {
    const inDoubt = child.uncertainSteps.length > 0
    const nothing = { by: 'child', result: null, resultBytes: 4 } as const
    return { event: { type: 'attemptSucceeded', ...only(id), ...nothing, inDoubt } }
  }
  const now = clock.now()
  const values = await history.values(child.sagaId, child)
  const entry = undoEntry({
    sagaId: newSagaId(now, bucketOf(state.sagaId)),
    child,
    context: contextOf(child, values).context,
    definition: found.resolved,
    reason: state.failureReason ?? 'the saga that started it was undone',
    now,
    correlationId: state.correlationId,
    traceparent: state.traceparent,
    parent: parentOf(holder, id, (state.parent?.depth ?? 0) + 1),
  })
  return started(holder, id, found, entry)
}

function parentOf({ state, definition }: Holder, { step, direction }: AttemptId, depth: number) {
  return { sagaId: state.sagaId, queue: definition.queue, step, direction, depth }
}

function started(
  { state, version }: Holder,
  id: AttemptId,
  { name, version: childVersion, queue }: Registered,
  entry: ChildStart['entry'],
): Beginning {
  const definition = { name, version: childVersion }
  return {
    event: { type: 'childStarted', ...only(id), child: { sagaId: entry.sagaId, definition } },
    start: {
      entry,
      definition: { ...definition, queue },
      parentSagaId: state.sagaId,
      parentVersion: version,
    },
  }
}

/** Nothing was started, and no retry would start it. */
function refused(id: AttemptId, code: string, detail: string): Beginning {
  const what = id.direction === 'action' ? 'no saga can be started' : 'it cannot be undone'
  const error = { code, message: `${what}: ${detail}` }
  return { event: { type: 'attemptFailed', ...only(id), outcome: 'rejected', error } }
}

function only({ step, direction, attempt }: AttemptId): AttemptId {
  return { step, direction, attempt }
}

// --- What a transition means to other sagas ----------------------------------------------------------------------

/** The letters that ride in the commit of a transition. */
function lettersOf(before: SagaState, after: SagaState, entry: Entry, spilled: Spilled) {
  return [...cancels(after, entry), ...reports(before, after, entry, spilled)]
}

function cancels(state: SagaState, { to }: Entry): NonNullable<Family['letters']>[number][] {
  const reason = state.failureReason ?? 'the saga that started it turned round'
  return (to.cancelledChildren ?? []).map((child) => ({
    to: child,
    letter: { kind: 'cancel', actor: `saga ${state.sagaId}`, reason },
  }))
}

/** To the saga that waits for this one: that it has ended, and how, or that it needs a person, or does so no more. */
function reports(
  before: SagaState,
  after: SagaState,
  entry: Entry,
  spilled: Spilled,
): NonNullable<Family['letters']>[number][] {
  const { parent, sagaId, status } = after
  if (parent === undefined || before.status === status) return []
  if (!isTerminal(status) && status !== 'stuck' && before.status !== 'stuck') return []
  const result =
    status === 'completed' && after.undoOf === undefined ? resultOf(after, entry, spilled) : undefined
  const letter = {
    kind: 'childReport' as const,
    sagaId,
    status,
    ...(isTerminal(status) && { clean: after.uncertainSteps.length === 0 && status !== 'abandoned' }),
    ...(after.failureReason !== undefined && { reason: after.failureReason }),
    ...(result !== undefined && { result }),
  }
  return [{ to: parent.sagaId, letter }]
}

/** The result of a step that is a saga: what that saga's own steps resulted in. Null where it is too much (S32). */
function resultOf(state: SagaState, entry: Entry, spilled: Spilled): Json {
  const { context } = contextOf(state, spilled)
  const { input: _, ...earlier } = context
  const latest =
    'result' in entry && 'step' in entry && state.completedSteps.includes(entry.step)
      ? { [entry.step]: entry.result }
      : {}
  const result = { sagaId: state.sagaId, results: { ...earlier, ...latest } }
  return byteLength(JSON.stringify(result)) > MAX_VALUE_BYTES
    ? { sagaId: state.sagaId, results: null }
    : result
}

/** The queues in which something has become due by a commit, besides the saga itself. */
export function queuesMadeDue(state: SagaState, { letters = [], starts = [] }: Family): string[] {
  const reported = letters.some(({ letter }) => letter.kind === 'childReport')
  return [
    ...starts.map(({ definition }) => definition.queue),
    ...(reported && state.parent !== undefined ? [state.parent.queue] : []),
  ]
}

/** What happens to other sagas in the same commit; undefined for nearly every transition there is. */
export function familyOf(
  before: SagaState,
  { entry, state }: Extract<Decision, { is: 'transition' }>,
  spilled: Spilled,
  start: ChildStart | undefined,
): Family | undefined {
  const letters = lettersOf(before, state, entry, spilled)
  const starts = start !== undefined && entry.kind === 'childStarted' ? [start] : []
  return letters.length + starts.length === 0 ? undefined : { letters, starts }
}
