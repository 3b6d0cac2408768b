import { createServer } from 'node:http'

/** A participant that says yes to everything at once. */
const server = createServer((request, response) => {
  request.resume()
  request.on('end', () => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end('{"id":"xxxxxxxxxxxxxxxxxxxxx"}')
  })
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  process.send?.({
    url: typeof address === 'object' && address !== null ? `http://127.0.0.1:${address.port}/` : '',
  })
})
process.on('disconnect', () => process.exit(0))
