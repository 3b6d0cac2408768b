import { expect, test } from 'vitest'
import { ConfigError, loadConfig } from './config.ts'

function complaintAbout(variables: NodeJS.ProcessEnv): string {
  try {
    loadConfig(variables)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
  }
  throw new Error('nothing was wrong')
}

test('nothing has to be set', () => {
  expect(loadConfig({})).toEqual({
    host: '127.0.0.1',
    port: 8080,
    databaseUrl: undefined,
    logLevel: 'info',
    slowCarrierMs: 3000,
    noColour: false,
  })
})

test('an empty variable counts as not set', () => {
  expect(loadConfig({ PORT: '', DATABASE_URL: '', HOST: '', NO_COLOR: '' })).toEqual(loadConfig({}))
})

test('what is set is used', () => {
  const config = loadConfig({ HOST: '::1', PORT: '0', DATABASE_URL: 'postgres://u:p@db/app', NO_COLOR: '1' })
  expect(config).toMatchObject({ host: '::1', port: 0, databaseUrl: 'postgres://u:p@db/app', noColour: true })
})

test('everything that is wrong is said at once, with what to write instead', () => {
  expect(complaintAbout({ PORT: '80a', LOG_LEVEL: 'loud', SLOW_CARRIER_MS: '99999' })).toMatchInlineSnapshot(`
    "3 settings are not right in the environment:
      PORT "80a" is not a port; write a number from 0 to 65535
      LOG_LEVEL "loud" is not a log level; write one of trace, debug, info, warn, error, fatal, silent
      SLOW_CARRIER_MS "99999" is out of range; write a number from 1000 to 10000"
  `)
})

test('an address is not repeated: it may have a password in it', () => {
  expect(complaintAbout({ DATABASE_URL: 'mysql://root:secret@db/app' })).toMatchInlineSnapshot(`
    "A setting is not right in the environment:
      DATABASE_URL is not the address of a Postgres; write postgres://user:password@host:5432/database"
  `)
})
