import net from 'node:net'

/** For tests: a network between client and server that can be told to misbehave. */
export type Network = {
  /** The server's address, by way of this network. */
  url: string
  /** Connections that exist at the moment. */
  readonly connections: number
  /** All that were ever made. */
  readonly accepted: number
  /** What the client sends arrives and is carried out; what the server answers does not come back. */
  swallowAnswers(): void
  /** Nothing passes, in either direction, and nobody is told. New connections are accepted into the void. */
  goBlack(): void
  /** Does one of these just before a client's message with this text in it is passed on. Once. */
  when(message: string, act: () => void): void
  /** New traffic passes again. What was swallowed stays lost. */
  heal(): void
  /** Cuts every connection. */
  cut(): void
  close(): Promise<void>
}

/** `pooled`: clients are told the process id of nobody, as poolers do, whose clients have no session of their own. */
export async function createNetwork(
  serverUrl: string,
  { pooled = false }: { pooled?: boolean } = {},
): Promise<Network> {
  const target = new URL(serverUrl)
  const pairs = new Set<{ client: net.Socket; server: net.Socket }>()
  let mode: 'pass' | 'swallow' | 'black' = 'pass'
  let accepted = 0
  let awaited: { message: string; act: () => void } | undefined

  function look(bytes: Buffer): void {
    if (awaited === undefined || !bytes.includes(awaited.message)) return
    const { act } = awaited
    awaited = undefined
    act()
  }

  const listener = net.createServer((client) => {
    accepted++
    const server = net.connect(Number(target.port || 5432), target.hostname)
    const pair = { client, server }
    pairs.add(pair)
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        pairs.delete(pair)
        client.destroy()
        server.destroy()
      })
    }
    client.on('data', (bytes) => {
      look(bytes)
      if (mode !== 'black') server.write(bytes)
    })
    server.on('data', (bytes) => mode === 'pass' && client.write(pooled ? withoutProcessId(bytes) : bytes))
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('the network has no port')
  const url = new URL(serverUrl)
  url.hostname = '127.0.0.1'
  url.port = String(address.port)

  function cut(): void {
    for (const { client, server } of pairs) {
      client.destroy()
      server.destroy()
    }
  }

  return {
    url: url.href,
    get connections() {
      return pairs.size
    },
    get accepted() {
      return accepted
    },
    swallowAnswers() {
      mode = 'swallow'
    },
    goBlack() {
      mode = 'black'
    },
    when(message, act) {
      awaited = { message, act }
    },
    heal() {
      mode = 'pass'
    },
    cut,
    async close() {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()))
      cut()
      await closed
    },
  }
}

/** BackendKeyData: K, its length, the process id, the secret. */
const KEY_DATA = Buffer.from([0x4b, 0, 0, 0, 12])

function withoutProcessId(bytes: Buffer): Buffer {
  const at = bytes.indexOf(KEY_DATA)
  if (at === -1) return bytes
  const changed = Buffer.from(bytes)
  changed.writeInt32BE(2 ** 30, at + KEY_DATA.length)
  return changed
}
