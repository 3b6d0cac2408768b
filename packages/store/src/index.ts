export type { Audit, AuditEntry, AuditPlace } from './audit.ts'
export type { Bulks, BulkTools, Judged, Turn } from './bulks.ts'
export type { Callbacks, TokenMaker } from './callbacks.ts'
export type { Claimed, Claims, Queued, Turns } from './claims.ts'
export type { DatabaseClock } from './clock.ts'
export {
  type CommitAnswer,
  type Commits,
  isGated,
  type KnownMail,
  type Lease,
  type Transition,
} from './commits.ts'
export type { Definitions, Registered } from './definitions.ts'
export { ConnectionLost, failureOf, isOutage } from './failure.ts'
export type { ChildStart, Family } from './family.ts'
export { type EventFilter, type Feed, type PlacedEvent, shown, typesMeant } from './feed.ts'
export { createGatherer, type Gatherer, type Settled } from './gather.ts'
export type { History } from './history.ts'
export { bucketOf, isSagaId, newSagaId } from './ids.ts'
export type { Place } from './lists.ts'
export { type Letter, type Mailbox, type Posted, UnknownLetter } from './mailbox.ts'
export { migrate } from './migrate.ts'
export type { Listeners } from './outbox.ts'
export type { Queries } from './queries.ts'
export type { DueSchedule, Fired, Gone, Schedules, Unreadable } from './schedules.ts'
export type { Outdated, Slot, StartAnswer, StartRequest, Starts } from './starts.ts'
export { type ApiStore, openApiStore, openWorkerStore, type WorkerStore } from './store.ts'
export type { Delivery, DueDelivery, Sent, Webhook, Webhooks } from './webhooks.ts'
export type { Pulse, ServiceReport, Session } from './workers.ts'
