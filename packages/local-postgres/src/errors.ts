/** Says what was found and what to do about it; its message is meant to be shown as it is. */
export class LocalPostgresError extends Error {
  override name = 'LocalPostgresError'
}

export const useYourOwn = 'Set DATABASE_URL to a Postgres of yours, and none is started here.'
