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
  /** Everything arrives this much later, in either direction. */
  delay(ms: number): void
  /**
   * The next statements with this text in them are carried out; their answers are lost, and each time the connection with
   * them, as soon as the server has answered.
   */
  loseAnswers(statement: string, times: number): void
  /** How many of those are still to come. */
  readonly answersToLose: number
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
  let delayMs = 0
  let toLose = { statement: '', times: 0 }
  let mode: 'pass' | 'swallow' | 'black' = 'pass'
  let accepted = 0
  let awaited: { message: string; act: () => void } | undefined

  /** What is on its way, in order. */
  const late: { at: number; write: () => void }[] = []
  function passOn(write: () => void): void {
    if (delayMs === 0 && late.length === 0) {
      write()
      return
    }
    if (late.length === 0) setTimeout(arrive, delayMs)
    late.push({ at: performance.now() + delayMs, write })
  }

  function arrive(): void {
    const now = performance.now()
    // A timer may be a part of a millisecond early.
    while (late[0] !== undefined && late[0].at <= now + 1) late.shift()?.write()
    if (late[0] !== undefined) setTimeout(arrive, late[0].at - now)
  }

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
    /** What the server has answered to a statement whose answer is to be lost. */
    let losing: Buffer | undefined
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        pairs.delete(pair)
        client.destroy()
        // What was sent before the end arrives before the end.
        passOn(() => server.destroySoon())
      })
    }
    client.on('data', (bytes) => {
      look(bytes)
      if (toLose.times > 0 && losing === undefined && bytes.includes(toLose.statement)) {
        toLose.times--
        losing = Buffer.alloc(0)
      }
      if (mode !== 'black') passOn(() => server.write(bytes))
    })
    server.on('data', (bytes) => {
      if (losing !== undefined) {
        losing = Buffer.concat([losing, bytes])
        if (isAnswered(losing)) client.destroy()
        return
      }
      if (mode === 'pass') passOn(() => client.write(pooled ? withoutProcessId(bytes) : bytes))
    })
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
    delay(ms) {
      delayMs = ms
    },
    loseAnswers(statement, times) {
      toLose = { statement, times }
    },
    get answersToLose() {
      return toLose.times
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

/** ReadyForQuery stands at the end of every answer. Messages: one letter, and a length that counts itself. */
function isAnswered(bytes: Buffer): boolean {
  for (let at = 0; at + 5 <= bytes.length; at += 1 + bytes.readInt32BE(at + 1))
    if (bytes[at] === 0x5a) return true
  return false
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
