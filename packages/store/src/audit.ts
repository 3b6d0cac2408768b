import { sql } from 'kysely'
import type { Database } from './database.ts'

/** Who did what, and why. Acts on sagas come by the feed; what else is done to an installation is written here by whoever does it. */
export type AuditEntry = {
  auditId: string
  at: string
  actor: string
  act: string
  subject: { kind: AuditSubject; id: string }
  reason: string | undefined
  refused: string | undefined
}
export type AuditSubject = 'saga' | 'definition' | 'schedule' | 'webhook' | 'bulk'

export type AuditPlace = { at: string; auditId: string }

export type Audit = {
  record(act: {
    actor: string
    act: string
    kind: AuditSubject
    id: string
    reason?: string | undefined
  }): Promise<void>
  /** Newest first. */
  list(
    filter: { actor?: string | undefined; act?: string | undefined; subject?: string | undefined },
    page: { before?: AuditPlace | undefined; limit: number },
  ): Promise<AuditEntry[]>
}

export function createAudit(database: Database): Audit {
  return {
    async record({ actor, act, kind, id, reason }) {
      await database
        .insertInto('audit_log')
        .values({ actor, act, subject_kind: kind, subject_id: id, reason: reason ?? null })
        .execute()
    },

    async list({ actor, act, subject }, { before, limit }) {
      let query = database.selectFrom('audit_log').selectAll()
      if (actor !== undefined) query = query.where('actor', '=', actor)
      if (act !== undefined) query = query.where('act', '=', act)
      if (subject !== undefined) query = query.where('subject_id', '=', subject)
      if (before !== undefined) {
        query = query.where(
          sql<boolean>`(at, audit_id) < (${before.at}::timestamptz, ${before.auditId}::uuid)`,
        )
      }
      const rows = await query.orderBy('at', 'desc').orderBy('audit_id', 'desc').limit(limit).execute()
      return rows.map((row) => ({
        auditId: row.audit_id,
        at: row.at.toISOString(),
        actor: row.actor,
        act: row.act,
        subject: { kind: row.subject_kind, id: row.subject_id },
        reason: row.reason ?? undefined,
        refused: row.refused ?? undefined,
      }))
    },
  }
}
