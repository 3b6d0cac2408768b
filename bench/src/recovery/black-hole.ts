import { once } from 'node:events'
import net from 'node:net'
import type { Place } from '../place.ts'

/** The way to a database, until it swallows everything: then nothing arrives any more, on either side, and nobody is told. */
export async function openBlackHole(
  place: Place,
): Promise<{ place: Place; swallow(): void; close(): Promise<void> }> {
  const url = new URL(place.url)
  const [host, port] = [url.hostname, Number(url.port)]
  const sockets: net.Socket[] = []
  let swallows = false
  const server = net.createServer((near) => {
    const far = swallows ? undefined : net.connect(port, host)
    for (const socket of [near, far]) {
      socket?.on('error', () => undefined)
      if (socket !== undefined) sockets.push(socket)
    }
    if (far !== undefined) near.pipe(far).pipe(near)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  url.host = `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
  return {
    place: { url: url.href },
    swallow() {
      swallows = true
      for (const socket of sockets) socket.unpipe().pause()
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
