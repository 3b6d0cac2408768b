/** Where the participants are, for the sagas in TypeScript. */
export const participantsUrl = process.env.PARTICIPANTS_URL ?? 'http://127.0.0.1:9000'
