import { z } from 'zod'

/** What the participants say they did for a saga: the other half of the truth, beside what the API says. */

const Entry = z.object({
  event: z.enum(['received', 'applied', 'refused', 'nothingToUndo', 'replayed']),
  operation: z.string(),
  step: z.string(),
  direction: z.enum(['action', 'compensation']),
  at: z.string(),
})
export type LedgerEntry = z.infer<typeof Entry>

export async function readLedger(
  { participantsUrl }: { participantsUrl: string },
  sagaId: string,
): Promise<LedgerEntry[]> {
  const response = await fetch(`${participantsUrl}/ledger?sagaId=${encodeURIComponent(sagaId)}`)
  return z.object({ entries: z.array(Entry) }).parse(await response.json()).entries
}

/** The operations with this event, in order. */
export function operations(entries: readonly LedgerEntry[], event: LedgerEntry['event']): string[] {
  return entries.filter((entry) => entry.event === event).map(({ operation }) => operation)
}
