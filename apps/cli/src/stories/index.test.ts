import { createClient } from '@backstitch/sdk'
import { expect, test } from 'vitest'
import { Narrator } from '../narrator.ts'
import { order, trip } from '../play.ts'
import { tellStories } from './index.ts'

test('stories that cannot be told are told as failures, all of them', async () => {
  let text = ''
  const ends = await tellStories([...order.stories, ...trip.stories], {
    client: createClient({ url: 'http://127.0.0.1:9', retry: { maxAttempts: 1 } }),
    version: 1,
    participantsUrl: 'http://127.0.0.1:9',
    workers: [],
    narrator: new Narrator((more) => (text += more), false),
    nameOf: (worker) => worker,
    signal: new AbortController().signal,
  })
  expect(ends).toEqual({ allRight: false, lastSagaId: undefined })
  expect(text.match(/✗ This did not end as it should have:/g)).toHaveLength(
    order.stories.length + trip.stories.length,
  )
})
