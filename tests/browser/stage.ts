import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Saga } from '@backstitch/core'
import { createWorker } from '@backstitch/engine'
import { createTestDatabase } from '@backstitch/local-postgres/testing'
import axe from 'axe-core'
import { pino } from 'pino'
import { chromium, type Page } from 'playwright-core'
import { spawnApi } from '../e2e/processes.ts'
import { definitionsFor, modulesOf, openPayments, type Plot } from './sagas.ts'

/** A browser before a dashboard, with an API, a worker and a payment service behind it. */
export type Stage = {
  url: string
  /** Starts a saga, and gives its id when it is as it should be. */
  saga(
    definition: string,
    input: Plot & { orderId?: string },
    until: (saga: Saga) => boolean,
    more?: Record<string, unknown>,
  ): Promise<string>
  until(sagaId: string, holds: (saga: Saga) => boolean): Promise<Saga>
  ask(method: string, path: string, body?: unknown): Promise<unknown>
  /** A fresh page; what it complains of is kept. */
  open(path: string, how?: Look): Promise<Opened>
  close(): Promise<void>
}
export type Opened = Page & { complaints: string[] }
export type Look = { theme?: 'light' | 'dark'; width?: number }
export type Browser = { open(url: string, how?: Look): Promise<Opened>; close(): Promise<void> }

const CHROMIUM =
  process.env.CHROMIUM ??
  ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)
const DASHBOARD = fileURLToPath(new URL('../../apps/dashboard/dist/index.html', import.meta.url))

/** Why the dashboard cannot be looked at here, or undefined. */
export function whyNoBrowser(): string | undefined {
  if (CHROMIUM === undefined) return 'no chromium in /usr/bin; CHROMIUM=… names one'
  if (!existsSync(CHROMIUM)) return `no chromium at ${CHROMIUM}; CHROMIUM=… names another`
  return existsSync(DASHBOARD) ? undefined : 'the dashboard is not built; `npm test` builds it'
}

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** Of its own, with a profile that nobody has used before. */
export async function openBrowser(): Promise<Browser> {
  const profile = mkdtempSync(join(tmpdir(), 'backstitch-browser-'))
  const context = await chromium.launchPersistentContext(profile, {
    ...(CHROMIUM !== undefined && { executablePath: CHROMIUM }),
    headless: true,
    args: FLAGS,
  })
  return {
    async open(url, { theme = 'light', width = 1440 } = {}) {
      const page = await context.newPage()
      await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' })
      await page.setViewportSize({ width, height: 900 })
      const complaints: string[] = []
      page.on('pageerror', (error) => complaints.push(error.message))
      page.on('dialog', (dialog) => {
        complaints.push(`a dialog: ${dialog.message()}`)
        void dialog.dismiss()
      })
      page.on('console', (message) => {
        // The browser's own line about an answer of 4xx; the page shows what it says.
        if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
          complaints.push(message.text())
      })
      await page.goto(url)
      return Object.assign(page, { complaints })
    },
    async close() {
      await context.close()
      rmSync(profile, { recursive: true, force: true })
    },
  }
}

export async function openStage(): Promise<Stage> {
  const database = await createTestDatabase()
  const payments = await openPayments()
  const definitions = definitionsFor(payments.url)
  const worker = createWorker({
    databaseUrl: database.url,
    sagas: modulesOf(definitions),
    log: pino({ level: 'silent' }),
  })
  await worker.start()
  const api = await spawnApi(database.url)
  const browser = await openBrowser()

  async function ask(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(`${api.url}${path}`, {
      method,
      headers: { 'content-type': 'application/json', 'x-actor': 'grace' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const answer: unknown = await response.json()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`)
    return answer
  }

  async function until(sagaId: string, holds: (saga: Saga) => boolean): Promise<Saga> {
    const end = performance.now() + 60_000
    for (;;) {
      const saga = (await ask('GET', `/v1/sagas/${sagaId}`)) as Saga
      if (holds(saga)) return saga
      if (performance.now() > end) throw new Error(`still not so: ${JSON.stringify(saga, undefined, 1)}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  return {
    url: api.url,
    ask,
    until,
    async saga(definition, input, holds, more = {}) {
      const { sagaId } = (await ask('POST', '/v1/sagas', {
        definition,
        input: { orderId: 'o-1', ...input },
        ...more,
      })) as Saga
      await until(sagaId, holds)
      return sagaId
    },
    open: (path, how) => browser.open(`${api.url}${path}`, how),
    async close() {
      await browser.close()
      api.child.kill('SIGKILL')
      await worker.stop(0)
      payments.close()
      await database.drop()
    },
  }
}

/** What is serious for those who see, hear or point otherwise (WCAG AA). */
export async function barriers(page: Page): Promise<string[]> {
  await page.evaluate(axe.source)
  return await page.evaluate<string[]>(
    `axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] }).then(({ violations }) => violations
       .filter(({ impact }) => impact === 'serious' || impact === 'critical')
       .map(({ id, help, nodes }) => id + ': ' + help + ': ' + nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + ' ' + (n.any[0]?.message ?? '')).join(' | ')))`,
  )
}
