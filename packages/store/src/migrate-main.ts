import { migrate } from './migrate.ts'

/** `node packages/store/src/migrate-main.ts`: one line per migration applied; status 1 and a sentence if one cannot be. */
const databaseUrl = process.env.DATABASE_URL
if (databaseUrl === undefined || databaseUrl === '') {
  console.error('DATABASE_URL is not set; set it to the address of the database to migrate, postgres://…')
  process.exit(1)
}
try {
  const applied = await migrate(databaseUrl)
  for (const name of applied) console.log(`applied ${name}`)
  if (applied.length === 0) console.log('the database is up to date')
} catch (error) {
  console.error(`the migration failed: ${error instanceof Error ? error.message : String(error)}`)
  process.exit(1)
}
