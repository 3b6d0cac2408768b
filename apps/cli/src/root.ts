import path from 'node:path'

/** Of the checkout. */
export const root = path.resolve(import.meta.dirname, '../../..')
