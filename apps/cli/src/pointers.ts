import type { Narrator } from './narrator.ts'

export type Sights = {
  apiUrl: string
  participantsUrl: string
  /** The version to name in a start; undefined if it is the highest, which is what a start without one takes. */
  version: number | undefined
  /** Of the last story. */
  sagaId: string | undefined
  logs: string
  workers: readonly { name: string; pid: number | undefined }[]
}

/** Where to look next; every line of it works as it is. */
export function pointOut(narrator: Narrator, sights: Sights): void {
  const { apiUrl, participantsUrl, version, sagaId, logs, workers } = sights
  const definition = `"definition":"order"${version === undefined ? '' : `,"version":${version}`}`
  narrator.pointers('All of it is running now. Where to look next:', [
    ['The API, to read and to try', `  ${apiUrl}/docs`],
    [
      'Start a saga and wait for its end ("order-ts" is the same one in TypeScript)',
      `  curl '${apiUrl}/v1/sagas?waitMs=10000' \\`,
      "    -H 'content-type: application/json' \\",
      `    -d '{${definition},"input":{"orderId":"o-4","sku":"thread",`,
      `         "quantity":3,"card":"4000-0000-0000-0000"}}'`,
    ],
    ...(sagaId === undefined
      ? []
      : ([
          ['See one (and all that happened to it: /history)', `  curl ${apiUrl}/v1/sagas/${sagaId}`],
        ] as const)),
    ['See what the participants did', `  curl ${participantsUrl}/ledger`],
    [
      `Kill ${workers.map(({ name }) => name).join(' or ')} and see it come back`,
      ...workers.map(({ pid }) => `  kill -9 ${pid}`),
    ],
    ['Read the logs, the saga, its participants', `  ${logs}`, '  examples/order'],
  ])
  narrator.say('Ctrl-C stops everything.')
}
