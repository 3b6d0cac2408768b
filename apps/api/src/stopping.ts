import type { App } from './app.ts'

/** A connection that is still busy then is sent away. */
const PATIENCE_MS = 10_000

/**
 * What `app.close()` does beside closing the port: whoever waits for a saga is answered with what there is, and a connection
 * that its caller would keep for later is closed with its answer. Node only closes those that are idle at the beginning.
 */
export function stopInOrder(app: App, patient: readonly { close(): void }[]): () => boolean {
  let stopping = false
  let impatience: NodeJS.Timeout | undefined

  app.addHook('preClose', async () => {
    stopping = true
    for (const one of patient) one.close()
    impatience = setTimeout(() => app.server.closeAllConnections(), PATIENCE_MS)
  })
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (stopping) reply.header('connection', 'close')
    done()
  })
  app.addHook('onClose', async () => {
    clearTimeout(impatience)
  })
  return () => stopping
}
