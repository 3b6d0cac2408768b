import { Problem } from '@backstitch/core'
import type { App } from '../app.ts'

/** A path that exists answers a method it does not have with 405 and what it does have. */
export function refuseOtherMethods(app: App): { settle: () => void } {
  const allowed = new Map<string, Set<string>>()

  app.addHook('onRoute', ({ url, method, schema }) => {
    if (url.includes('*') || schema?.hide === true) return
    const methods = allowed.get(url) ?? new Set()
    for (const one of [method].flat()) methods.add(one)
    allowed.set(url, methods)
  })

  return {
    /** Called when all routes are there. */
    settle() {
      for (const [url, methods] of allowed) {
        const allow = [...methods].sort().join(', ')
        app.route({
          url,
          method: app.supportedMethods.filter((method) => !methods.has(method)),
          schema: { hide: true },
          async onRequest(request, reply) {
            reply.header('allow', allow)
            throw new Problem(
              'METHOD_NOT_ALLOWED',
              `${request.method} is not possible here; what is: ${allow}`,
            )
          },
          handler: () => undefined,
        })
      }
    },
  }
}
