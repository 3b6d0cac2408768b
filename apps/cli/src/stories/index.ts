import type { Stage, Story, Told } from './story.ts'

/** One after the other, and all of them, however the ones before ended. */
export async function tellStories(
  stories: readonly Story[],
  stage: Stage,
): Promise<{ allRight: boolean; lastSagaId: string | undefined }> {
  const ends = []
  for (const [index, story] of stories.entries()) {
    stage.narrator.story(index + 1, story.title, story.about)
    ends.push(await tell(story, stage))
  }
  return { allRight: ends.every(({ right }) => right), lastSagaId: ends.at(-1)?.sagaId }
}

async function tell(story: Story, stage: Stage): Promise<Told> {
  try {
    return await story.tell(stage)
  } catch (error) {
    if (stage.signal.aborted) throw error
    const found = error instanceof Error ? error.message : String(error)
    stage.narrator.ending('', [{ claim: 'the story should come to an end', holds: false, found }])
    return { right: false, sagaId: undefined }
  }
}
