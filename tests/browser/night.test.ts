import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient } from '@backstitch/sdk'
import { expect, onTestFinished, test } from 'vitest'
import { openTheatre, startApi } from '../e2e/processes.ts'
import { listen } from '../support/listen.ts'
import { openBrowser, whyNoBrowser } from './stage.ts'

const missing = whyNoBrowser()
if (missing !== undefined) process.stderr.write(`The night is not played: ${missing}.\n`)

const CAPTURED = 14
const DECLINED = 6
const ALL = CAPTURED + DECLINED

const retry = { maxAttempts: 2, initialDelayMs: 20, maxDelayMs: 20 }
const call = (method: string, path: string) => ({ type: 'http', service: 'payments', method, path })
const sale = {
  name: 'sale',
  defaults: { retry },
  steps: [
    {
      name: 'authorise',
      action: call('POST', '/authorisations'),
      compensation: { ...call('DELETE', '/authorisations/${{ saga.id }}'), retry },
    },
    { name: 'confirm', pivot: true, action: call('POST', '/confirmations') },
    { name: 'capture', action: call('POST', '/captures') },
  ],
}

/** Promises money as ever; while its ledger is down it moves none, neither there nor back. */
async function openPayments() {
  let isDown = true
  const moved = { captures: new Set<string>(), voids: new Set<string>() }
  const server = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk) => {
      text += String(chunk)
    })
    request.on('end', () => {
      const answer = (status: number, body: object) =>
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
      const isVoid = request.method === 'DELETE'
      const moves = isVoid || request.url === '/captures'
      if (moves && isDown) return answer(503, { error: 'the ledger of the payments is down' })
      if (request.url === '/confirmations' && text.includes('"declined":true'))
        return answer(409, { error: 'the card was declined' })
      if (moves) moved[isVoid ? 'voids' : 'captures'].add(String(request.headers['saga-id']))
      return answer(200, { done: true })
    })
  })
  const url = await listen(server)
  const mend = () => {
    isDown = false
  }
  return { url, moved, mend }
}

/** The file that SERVICES names. No breaker: the night is about what has already failed. */
function servicesAt(baseUrl: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'backstitch-night-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'services.json')
  writeFileSync(file, JSON.stringify({ payments: { baseUrl, breaker: false } }))
  return file
}

test.skipIf(missing !== undefined)(
  'a payment service dies in the night; who is paged finds what is stuck, understands, mends and sees it drain (S30)',
  { timeout: 180_000 },
  async () => {
    const payments = await openPayments()
    const theatre = await openTheatre()
    const api = await startApi(theatre.database.url)
    await theatre.worker({ SERVICES: servicesAt(payments.url) })
    const client = createClient({ url: api.url })
    await client.definitions.register(sale)
    for (let n = 0; n < ALL; n++)
      await client.sagas.start('sale', { declined: n < DECLINED }, { sagaKey: `sale-${n}` })
    const stuck = () => client.sagas.list({ status: ['stuck'] }, { limit: 200 }).toArray()
    await expect.poll(async () => (await stuck()).length, { timeout: 60_000 }).toBe(ALL)

    const browser = await openBrowser()
    onTestFinished(() => browser.close())
    const page = await browser.open(api.url)
    page.setDefaultTimeout(15_000)

    // Finds it.
    const needs = page.getByRole('region', { name: 'Needs a person' })
    await needs.getByText('stuck at the undo of authorise').waitFor()
    await needs.getByText('stuck at capture').waitFor()
    await needs.getByRole('link', { name: `${CAPTURED} sagas of sale` }).click()
    const list = page.getByRole('list', { name: 'Sagas' })
    await page.getByText(`${ALL} shown, that is all`).waitFor()

    // Understands it.
    await list.getByRole('link', { name: 'sale-19 ' }).click()
    const headline = page.getByRole('region', { name: 'Where it stands' })
    await headline.getByText('capture did not succeed').waitFor()
    await headline.getByText('503').waitFor()
    await headline.getByText('the ledger of the payments is down').waitFor()
    await headline.getByText('you decide').waitFor()

    // Mends it, and asks for all of them again.
    payments.mend()
    await page.goBack()
    await page.getByText(`${ALL} shown, that is all`).waitFor()
    await page.keyboard.press('x')
    const acts = page.getByRole('region', { name: 'What to do with those selected' })
    await acts.getByText('1 selected').waitFor()
    await acts.getByRole('button', { name: 'Select all that match' }).click()
    await acts.getByRole('button', { name: 'Retry' }).click()
    const dialog = page.getByRole('dialog', { name: 'Retry many' })
    await dialog.getByText(`${ALL} meant; it is possible for ${ALL}.`).waitFor()
    expect(payments.moved.captures.size + payments.moved.voids.size).toBe(0)
    await dialog.getByLabel('Why, for the history of each').fill('the ledger is up again')
    await dialog.getByRole('button', { name: `Retry ${ALL}` }).click()
    await dialog.getByText(`All ${ALL} asked: ${ALL} accepted, 0 refused.`).waitFor()
    await dialog.getByRole('button', { name: 'Done' }).click()

    // Sees it drain.
    await page.getByText('No saga is like that').waitFor()
    await page.getByRole('link', { name: 'Overview' }).click()
    await page.getByText('Nothing needs you.').waitFor()
    const counts = page.getByRole('region', { name: 'Sagas by status' })
    await counts.getByRole('link', { name: `${CAPTURED} completed` }).waitFor()
    await counts.getByRole('link', { name: `${DECLINED} failed` }).waitFor()
    expect([payments.moved.captures.size, payments.moved.voids.size]).toEqual([CAPTURED, DECLINED])
    expect(page.complaints).toEqual([])
  },
)
