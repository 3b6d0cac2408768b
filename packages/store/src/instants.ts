/** The database knows times that nobody else does, such as infinity, and gives them as something else. */
export function isTime(stored: Date): boolean {
  return !Number.isNaN(new Date(stored).getTime())
}

/** In the place of one that cannot be shown stands the first there is. */
export function shownTime(stored: Date): string {
  return isTime(stored) ? stored.toISOString() : new Date(0).toISOString()
}
