import type { Narrator } from './narrator.ts'
import type { Play } from './play.ts'

export type Sights = {
  play: Pick<Play, 'name' | 'folder' | 'tries'>
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
  const { play, apiUrl, participantsUrl, version, sagaId, logs, workers } = sights
  const { label, input, after } = play.tries
  const definition = `"definition":"${play.name}"${version === undefined ? '' : `,"version":${version}`}`
  narrator.pointers('All of it is running now. Where to look next:', [
    ['The dashboard: find a saga, understand it, repair it', `  ${apiUrl}/`],
    ['The API, to read and to try', `  ${apiUrl}/docs`],
    [
      label,
      `  curl '${apiUrl}/v1/sagas${after === undefined ? '?waitMs=10000' : ''}' \\`,
      "    -H 'content-type: application/json' \\",
      `    -d '{${definition},"input":{${input[0]}`,
      ...input.slice(1, -1).map((line) => `         ${line}`),
      `         ${input.at(-1)}}}'`,
    ],
    ...(after === undefined ? [] : [after(apiUrl)]),
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
    ['Read the logs, the saga, its participants', `  ${logs}`, `  ${play.folder}`],
  ])
  narrator.say('Ctrl-C stops everything.')
}
