import fs from 'node:fs'
import path from 'node:path'
import { z } from 'zod'

/**
 * Everything that ever reached the participants, in order, in a file of JSON lines that is only ever appended to.
 * It is their memory as well: what has been answered under a key, and what stands, is read from it alone.
 *
 * One request is one `received` and then one of:
 *   applied        it had its effect
 *   refused        a definite no, without effect
 *   nothingToUndo  an undo of something that was never done: accepted, and remembered against a late action
 *   replayed       its key had been answered before: the same answer again, and no second effect
 * Somebody may ask what became of a key, which is `probed`.
 * What is told later has a `calledBack` when it has been heard.
 */

const Answer = z.object({ status: z.int(), body: z.record(z.string(), z.json()) })
export type Answer = z.infer<typeof Answer>

const Happening = z.object({
  event: z.enum(['received', 'applied', 'refused', 'nothingToUndo', 'replayed', 'calledBack', 'probed']),
  service: z.string(),
  operation: z.string(),
  sagaId: z.string(),
  step: z.string(),
  direction: z.enum(['action', 'compensation']),
  attempt: z.int().nullable(),
  key: z.string(),
  /** Of the first answer given under the key. */
  answer: Answer.optional(),
})
export type Happening = z.infer<typeof Happening>

export const LedgerEntry = Happening.extend({ seq: z.int(), at: z.string() })
export type LedgerEntry = z.infer<typeof LedgerEntry>

export class Ledger {
  readonly #file: string | undefined
  readonly #entries: LedgerEntry[] = []
  readonly #answered = new Map<string, LedgerEntry>()
  readonly #last = new Map<string, LedgerEntry>()
  #reader: (entry: LedgerEntry) => void = () => {}

  /** Without a directory it is kept in memory only. */
  constructor(directory?: string) {
    if (directory === undefined) return
    fs.mkdirSync(directory, { recursive: true })
    this.#file = path.join(directory, 'ledger.jsonl')
    for (const entry of readLines(this.#file)) this.#remember(entry)
  }

  write(happening: Happening): void {
    const entry = { seq: this.#entries.length + 1, at: new Date().toISOString(), ...happening }
    // The file first: nothing is answered that a restart would have forgotten.
    if (this.#file !== undefined) fs.appendFileSync(this.#file, `${JSON.stringify(entry)}\n`)
    this.#remember(entry)
  }

  entries(sagaId?: string): LedgerEntry[] {
    return this.#entries.filter((entry) => sagaId === undefined || entry.sagaId === sagaId)
  }

  /** The entry that holds the first answer given under this key. */
  answered(key: string): LedgerEntry | undefined {
    return this.#answered.get(key)
  }

  /** How things stand between a service and a saga: the last thing that changed it. */
  standing(service: string, sagaId: string): LedgerEntry | undefined {
    return this.#last.get(`${service} ${sagaId}`)
  }

  /** Hands over every entry there is, and from then on each new one. */
  follow(reader: (entry: LedgerEntry) => void): void {
    this.#entries.forEach(reader)
    this.#reader = reader
  }

  #remember(entry: LedgerEntry): void {
    this.#entries.push(entry)
    if (entry.answer !== undefined) this.#answered.set(entry.key, entry)
    if (entry.event === 'applied' || entry.event === 'nothingToUndo') {
      this.#last.set(`${entry.service} ${entry.sagaId}`, entry)
    }
    this.#reader(entry)
  }
}

/** A crash can cut off the last line: what it would have said was never answered. It is cut off here, too. */
function readLines(file: string): LedgerEntry[] {
  if (!fs.existsSync(file)) return []
  const text = fs.readFileSync(file, 'utf8')
  const whole = text.slice(0, text.lastIndexOf('\n') + 1)
  if (whole.length < text.length) fs.truncateSync(file, Buffer.byteLength(whole))
  return whole
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => LedgerEntry.parse(JSON.parse(line)))
}
