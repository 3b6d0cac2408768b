import net from 'node:net'

/** Whether something can listen there, found by trying. */

export class PortError extends Error {
  override readonly name = 'PortError'
}

/** Says in one sentence what is wrong with the address, and what to do. */
export async function ensureFree(host: string, port: number): Promise<void> {
  const code = await tryPort(host, port)
  if (code === undefined || port === 0) return
  if (code === 'EADDRINUSE') {
    const other = await firstFree(host, port + 1)
    const remedy =
      other === undefined ? 'set PORT to a free one' : `choose another one: PORT=${other} npm start`
    throw new PortError(`Port ${port} on ${host} is in use by another program: stop that one, or ${remedy}`)
  }
  if (code === 'EACCES') {
    throw new PortError(
      `Port ${port} needs more rights than we have: choose one from 1024 up: PORT=8080 npm start`,
    )
  }
  throw new PortError(
    `Nothing can listen on ${host} (${code}): set HOST to an address of this machine, or leave it out`,
  )
}

export async function isFree(host: string, port: number): Promise<boolean> {
  return (await tryPort(host, port)) === undefined
}

async function firstFree(host: string, from: number): Promise<number | undefined> {
  for (let port = from; port < Math.min(from + 50, 65_536); port++) {
    if (await isFree(host, port)) return port
  }
  return undefined
}

/** The error's code, or undefined if all went well. */
async function tryPort(host: string, port: number): Promise<string | undefined> {
  const server = net.createServer()
  return await new Promise((resolve) => {
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)))
  })
}
