/** What a saga may hold, and how often a thing may go wrong before a person is asked. */

/** One value of a context, the start input or a result, as JSON in UTF-8 (S32). */
export const MAX_VALUE_BYTES = 1024 * 1024
/** A whole context, as JSON (S32). */
export const MAX_CONTEXT_BYTES = 16 * 1024 * 1024
/** An error's text (S32). */
export const MAX_ERROR_BYTES = 8 * 1024
/** The shorter sentence that travels in every later state. */
export const MAX_REASON_BYTES = 1024
/** S33: results stay inside the state while it is small enough not to leave its row; this leaves room for the rest of it. */
export const INLINE_BYTES = 1400
/** S19 */
export const MAX_LEASES_LOST = 5
/** M2 */
export const MAX_KEPT_SIGNALS = 100
/** A saga that starts a saga that starts a saga: one that does so without end is a mistake. */
export const MAX_CHILD_DEPTH = 16
