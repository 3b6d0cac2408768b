import net from 'node:net'
import { expect, test } from 'vitest'
import { ensureFree } from './port.ts'

test('a port in use is one sentence with a free port in it', async () => {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  await expect(ensureFree('127.0.0.1', port)).rejects.toThrow(
    new RegExp(
      `^Port ${port} on 127.0.0.1 is in use by another program: stop that one, or choose another one: PORT=\\d+ npm start$`,
    ),
  )
  await new Promise((resolve) => server.close(resolve))
  await expect(ensureFree('127.0.0.1', port)).resolves.toBeUndefined()
})

test('an address of another machine is named', async () => {
  await expect(ensureFree('192.0.2.1', 8080)).rejects.toThrow(
    'Nothing can listen on 192.0.2.1 (EADDRNOTAVAIL)',
  )
})
