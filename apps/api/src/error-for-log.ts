import { sanitizeText } from '@backstitch/core'

/** An error as the log has it. What a database adds to its errors may quote whole rows, and stays out. */
export function errorForLog(error: unknown, depth = 0): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: sanitizeText(String(error), 2_048) }
  return {
    type: error.name,
    message: sanitizeText(error.message, 2_048),
    ...('code' in error && typeof error.code === 'string' && { code: error.code }),
    stack: sanitizeText(error.stack ?? '', 8_192),
    ...(error.cause !== undefined && depth < 3 && { cause: errorForLog(error.cause, depth + 1) }),
  }
}
