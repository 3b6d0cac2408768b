import { createClient } from '@backstitch/sdk'

/** Goes on after `place` for as long as it is let, wherever the API is meanwhile; `keep` the place with what you make of the event. */
export async function follow(
  url: string,
  place: string | undefined,
  keep: (sagaId: string, place: string) => Promise<void>,
): Promise<void> {
  const { events } = createClient({ url })
  for await (const { sagaId, position } of events.follow({ types: ['saga.failed'], after: place })) {
    await keep(sagaId, position)
  }
}
