import { z } from 'zod'

/** What the participants say they did for a saga: the other half of the truth, beside what the API says. */

const Entry = z.object({
  seq: z.int(),
  event: z.enum(['received', 'applied', 'refused', 'nothingToUndo', 'replayed', 'calledBack', 'probed']),
  service: z.string(),
  operation: z.string(),
  step: z.string(),
  direction: z.enum(['action', 'compensation']),
  at: z.string(),
})
export type LedgerEntry = z.infer<typeof Entry>

/** For one saga, or for several, such as one and its children. */
export async function readLedger(
  { participantsUrl }: { participantsUrl: string },
  ...sagaIds: string[]
): Promise<LedgerEntry[]> {
  const all = await Promise.all(
    sagaIds.map(async (sagaId) => {
      const response = await fetch(`${participantsUrl}/ledger?sagaId=${encodeURIComponent(sagaId)}`)
      return z.object({ entries: z.array(Entry) }).parse(await response.json()).entries
    }),
  )
  return all.flat().toSorted((a, b) => a.seq - b.seq)
}

/** The operations with this event, in order. */
export function operations(entries: readonly LedgerEntry[], event: LedgerEntry['event']): string[] {
  return entries.filter((entry) => entry.event === event).map(({ operation }) => operation)
}

/** The services that still hold something for it: what was applied and not undone. */
export function inForce(entries: readonly LedgerEntry[]): string[] {
  const held = new Set<string>()
  for (const { event, service, direction } of entries) {
    if (event !== 'applied') continue
    if (direction === 'action') held.add(service)
    else held.delete(service)
  }
  return [...held]
}
