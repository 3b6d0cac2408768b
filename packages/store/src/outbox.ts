/**
 * The events of a statement leave with it, in one row for all of them (M6): what a flush of hundreds costs more is one insert.
 * A publisher gives them their places in the feed (feed.ts).
 */

/** Who listens, as far as those who write must know. */
export type Listeners = {
  /** Somebody wants to hear of steps, too, not only of sagas. */
  steps: boolean
  /** Something has been written that others wait for. A hint. */
  onNews(): void
}

/** Follows `u`, the rows that were changed, each with what there is to tell of it. */
export const tellOutbox = tellOutboxOf('u')

/** `bucket` and `events` are what these are called there, or stand for them. */
export function tellOutboxOf(rows: string, bucket = 'bucket', events = 'events'): string {
  return `o AS (
  INSERT INTO events AS o (bucket, told)
  SELECT min(${bucket}), json_agg(${events}) FROM ${rows} WHERE ${events} IS NOT NULL HAVING count(*) > 0
)`
}

/**
 * What there is to tell of a saga that is ended, or left to a person, by a statement that reads nothing of its state. `s` is its
 * row, already changed; `before` is the same as it was, locked by this statement.
 */
export function outsideTelling(status: 'abandoned' | 'stuck', data: string, acted?: string): string {
  const told = (
    type: string,
    what: string,
  ) => `jsonb_build_object('type', '${type}', 'at', to_char(s.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
      'sagaId', s.saga_id, 'definition', jsonb_build_object('name', s.definition_name, 'version', s.definition_version),
      'seq', s.version, 'status', '${status}', 'was', before.status, 'data', ${what})`
  return `jsonb_build_array(${acted === undefined ? '' : `${told('saga.acted', acted)}, `}${told(`saga.${status}`, data)})::json`
}
