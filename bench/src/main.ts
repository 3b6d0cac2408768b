import fs from 'node:fs'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { prepareGround, query, recycleLog } from './place.ts'
import { measure, type Report } from './rounds.ts'
import { scenarios } from './scenarios/index.ts'
import { buildSlowDisk } from './slow-disk.ts'
import { tableOf } from './table.ts'

const HELP = `pnpm bench [--scenario name]… [--rounds 3] [--size n] [--peers] [--only contender]… [--json file]
           [--database postgres://…] [--directory on-a-disk] [--statements] [--verbose]
           [--slow-disk ms]

Scenarios:
${scenarios.map(({ name, about }) => `  ${name.padEnd(14)} ${about}`).join('\n')}
`

const { values } = parseArgs({
  args: process.argv.slice(2).filter((arg) => arg !== '--'),
  options: {
    scenario: { type: 'string', multiple: true },
    rounds: { type: 'string', default: '3' },
    size: { type: 'string' },
    peers: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
    json: { type: 'string', default: 'bench-report.json' },
    database: { type: 'string' },
    directory: { type: 'string' },
    'slow-disk': { type: 'string' },
    statements: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) {
  process.stdout.write(HELP)
  process.exit(0)
}
const usual = scenarios.filter(({ onlyIfNamed }) => onlyIfNamed !== true)
const wanted = values.scenario ?? usual.map(({ name }) => name)
const unknown = wanted.filter((name) => !scenarios.some((scenario) => scenario.name === name))
if (unknown.length > 0) {
  process.stderr.write(`There is no scenario ${unknown.join(', ')}.\n\n${HELP}`)
  process.exit(1)
}

const say = (line: string) => {
  if (values.verbose) process.stderr.write(`${line}\n`)
}
const { 'slow-disk': slowDisk } = values
const ground = await prepareGround({
  databaseUrl: values.database,
  directory: values.directory,
  track: values.statements,
  preload: slowDisk === undefined ? undefined : buildSlowDisk(Number(slowDisk)),
})
if (values.database === undefined) {
  say('filling the log once')
  await recycleLog(ground)
}
const machine = {
  cpus: os.cpus().length,
  cpu: os.cpus()[0]?.model ?? 'unknown',
  memoryGb: Math.round(os.totalmem() / 2 ** 30),
  platform: `${os.platform()} ${os.release()}`,
  node: process.version,
  loadAverage: os.loadavg()[0],
}
process.stdout.write(
  `${machine.cpus} × ${machine.cpu}, ${machine.memoryGb} GB, ${machine.platform}; Node ${machine.node}; ` +
    `${slowDisk === undefined ? '' : `each sync to disk ${slowDisk} ms longer; `}Postgres ${Object.entries(
      ground.settings,
    )
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}\n\n`,
)
const reports: Report[] = []
try {
  for (const scenario of scenarios.filter(({ name }) => wanted.includes(name))) {
    const report = await measure(scenario, ground, {
      rounds: Math.max(1, Number(values.rounds)),
      size: values.size === undefined ? undefined : Number(values.size),
      peers: values.peers,
      only: values.only,
      say,
    })
    reports.push(report)
    process.stdout.write(`${tableOf(report)}\n`)
    fs.writeFileSync(
      values.json,
      `${JSON.stringify({ machine, settings: ground.settings, reports }, undefined, 2)}\n`,
    )
  }
  if (values.statements) await showStatements()
} finally {
  await ground.close()
}

/** Where Postgres spent its time, by statement. */
async function showStatements(): Promise<void> {
  await query(ground.adminUrl, 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements')
  const rows = await query(
    ground.adminUrl,
    `SELECT calls::int, rows::int, round(total_exec_time::numeric) AS ms, round((total_exec_time / calls)::numeric, 3) AS "ms/call",
            round((1000 * total_exec_time / greatest(rows, 1))::numeric, 1) AS "µs/row", round(wal_bytes / greatest(rows, 1)) AS "wal/row",
            wal_fpi AS fpi, left(regexp_replace(query, '\\s+', ' ', 'g'), 70) AS query
     FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 15`,
  )
  process.stdout.write(`${rows.map((row) => Object.values(row).join('\t')).join('\n')}\n`)
}
