import type { App } from '../app.ts'

/**
 * What a browser is told about every answer: it is no page, nothing may run in it or frame it, and it is not kept. Written
 * out, as they never change: @fastify/helmet makes them afresh for each answer, which is more work than the rest of a small
 * request. Whether a whole domain speaks HTTPS is known to the proxy that ends it, and said there.
 */
export const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
}

export function secureHeaders(app: App): void {
  app.addHook('onRequest', (_request, reply, done) => {
    reply.headers(SECURITY_HEADERS)
    done()
  })
}

/** The pages of /docs: scripts and styles from here only, none of them inline; pictures may be written into the page. */
export const DOCS_POLICY = [
  "default-src 'none'",
  "base-uri 'none'",
  "connect-src 'self'",
  "font-src 'self'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "img-src 'self' data:",
  "script-src 'self'",
  "style-src 'self'",
].join('; ')
