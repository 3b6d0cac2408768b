import type { Narrator } from './narrator.ts'

export type Sights = {
  apiUrl: string
  participantsUrl: string
  /** Of the definition `order` that calls the participants of this installation. */
  version: number
  /** Of the last story. */
  sagaId: string | undefined
  logs: string
  workers: readonly { name: string; pid: number | undefined }[]
}

/** Where to look next; every line of it works as it is. */
export function pointOut(narrator: Narrator, sights: Sights): void {
  const { apiUrl, participantsUrl, version, sagaId, logs, workers } = sights
  const pids = workers.flatMap(({ name, pid }) => (pid === undefined ? [] : [`${name} is process ${pid}`]))
  narrator.pointers('All of it is running now. Where to look next:', [
    ['The API, to read and to try', `  ${apiUrl}/docs`],
    [
      'Start a saga, and wait for its end',
      `  curl '${apiUrl}/v1/sagas?waitMs=10000' \\`,
      `    -H 'content-type: application/json' -d '{"definition":"order","version":${version},"input":`,
      '    {"orderId":"ord-4","items":[{"sku":"thimble","quantity":1}],"totalCents":490,',
      `    "card":"4242-4242-4242-4242","email":"ada@example.com"}}'`,
    ],
    ...(sagaId === undefined
      ? []
      : [
          [
            'See one: its state, and everything that happened to it (of the third story)',
            `  curl ${apiUrl}/v1/sagas/${sagaId}`,
            `  curl ${apiUrl}/v1/sagas/${sagaId}/history`,
          ] as const,
        ]),
    ['What the participants did', `  curl ${participantsUrl}/ledger`],
    [`Kill a worker (${pids.join(', ')}): it comes back`, `  kill -9 ${workers[0]?.pid ?? '<pid>'}`],
    ['Logs of every process', `  ${logs}`],
    ['The saga and its participants, to read and to change', '  examples/order'],
  ])
  narrator.say('Ctrl-C stops everything.')
}
