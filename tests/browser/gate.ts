import http from 'node:http'
import { listen } from '../support/listen.ts'

/** Stands before an API as a proxy does, and can take the stream of events away. */
export type Gate = {
  url: string
  /** What went through, in order. */
  asked: string[]
  /** Ends the streams there are, and refuses new ones, until they are let through again. */
  cutStreams(how: Cut): void
  letStreamsThrough(): void
}

/** Answered with an error, ended without an answer, or never answered at all. */
export type Cut = 'refused' | 'dropped' | 'held'

const STREAM = '/v1/events/stream'

export async function openGate(target: string): Promise<Gate> {
  const asked: string[] = []
  const streams = new Set<http.ServerResponse>()
  const held = new Set<http.IncomingMessage>()
  let cut: Cut | undefined
  const server = http.createServer((request, response) => {
    const path = request.url ?? '/'
    asked.push(path)
    const isStream = path.includes(STREAM)
    if (isStream && cut !== undefined) {
      if (cut === 'refused') response.writeHead(503).end()
      else if (cut === 'dropped') request.destroy()
      else held.add(request)
      return
    }
    const onward = http.request(
      `${target}${path}`,
      { method: request.method, headers: request.headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(response)
        answer.on('error', () => response.destroy())
      },
    )
    onward.on('error', () => response.destroy())
    request.pipe(onward)
    response.on('close', () => {
      streams.delete(response)
      onward.destroy()
    })
    if (isStream) streams.add(response)
  })
  const url = await listen(server)
  return {
    url,
    asked,
    cutStreams(how) {
      cut = how
      for (const stream of streams) stream.destroy()
    },
    letStreamsThrough() {
      cut = undefined
      for (const request of held) request.destroy()
    },
  }
}
