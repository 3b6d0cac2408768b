import { hash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import fastifyStatic from '@fastify/static'
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import type { App } from '../app.ts'

/** Where `vite build` has put it. */
const BUILD = fileURLToPath(new URL('../../../dashboard/dist', import.meta.url))

/** Everything from here, nothing inline; pictures may be written into the page. */
const PAGE_POLICY = [
  "default-src 'none'",
  "base-uri 'self'",
  "connect-src 'self'",
  "font-src 'self'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "img-src 'self' data:",
  "script-src 'self'",
  "style-src 'self'",
].join('; ')

/** What has none of these in front is an address of the page, which finds out for itself whether there is such a one. */
const NOT_A_PAGE = /^\/(v1|docs|assets)(\/|$)/

/** Answers with the page, if that is what was asked for. */
export type Page = (request: FastifyRequest, reply: FastifyReply) => boolean

/** The page is the same for every address below `basePath`; what it is made of never changes under its name. */
export async function servePage(
  app: App,
  { folder, basePath }: { folder: string; basePath: string },
): Promise<Page> {
  const html = fs
    .readFileSync(path.join(folder, 'index.html'), 'utf8')
    .replace('<base href="/">', `<base href="${basePath}/">`)
  const etag = `"${hash('sha256', html).slice(0, 32)}"`
  await app.register(fastifyStatic, {
    root: path.join(folder, 'assets'),
    prefix: '/assets/',
    immutable: true,
    maxAge: '365d',
    index: false,
    schemaHide: true,
  })
  for (const file of ['theme.js', 'seam.svg']) {
    app.get(`/${file}`, { schema: { hide: true } }, (_request, reply) =>
      reply.sendFile(file, folder, { maxAge: '1h', immutable: false }),
    )
  }

  return (request, reply) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') return false
    const [where = ''] = request.url.split('?', 1)
    if (NOT_A_PAGE.test(where) || request.headers.accept?.includes('text/html') !== true) return false
    reply.headers({ 'content-security-policy': PAGE_POLICY, 'cache-control': 'no-cache', etag })
    if (request.headers['if-none-match'] === etag) void reply.code(304).send()
    else void reply.code(200).type('text/html; charset=utf-8').send(html)
    return true
  }
}

/** The folder of the dashboard, if it has been built here. */
export function dashboardIfBuilt(log: FastifyBaseLogger): string | undefined {
  if (fs.existsSync(path.join(BUILD, 'index.html'))) return BUILD
  log.warn('there is no dashboard: `pnpm --filter @backstitch/dashboard build` makes it')
  return undefined
}
