import type { App } from './app.ts'
import type { WaitHub } from './wait-hub.ts'

/** A connection that is still busy then is sent away. */
const PATIENCE_MS = 10_000
const LOOK_MS = 50

/**
 * What `app.close()` does beside closing the port: whoever waits for a saga is answered with what there is, and connections
 * that callers keep for later are closed as they fall idle. Node only closes those that are idle at the beginning.
 */
export function stopInOrder(app: App, hub: WaitHub): () => boolean {
  let stopping = false
  let looking: NodeJS.Timeout | undefined
  let impatience: NodeJS.Timeout | undefined

  app.addHook('preClose', async () => {
    stopping = true
    hub.close()
    looking = setInterval(() => app.server.closeIdleConnections(), LOOK_MS)
    impatience = setTimeout(() => app.server.closeAllConnections(), PATIENCE_MS)
  })
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (stopping) reply.header('connection', 'close')
    done()
  })
  app.addHook('onClose', async () => {
    clearInterval(looking)
    clearTimeout(impatience)
  })
  return () => stopping
}
