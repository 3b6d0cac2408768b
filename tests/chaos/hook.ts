import { writeSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { patchesNamed } from './patches.ts'

/**
 * Loaded before everything else in a process under test: rewrites a few words of named files as they are loaded, so that the
 * code itself knows nothing of its tests. Words that are not found, or found twice, or a file that is never loaded, end the
 * process: a bug that is not there must not count as survived.
 */

/** CHAOS_PATCH: a seeded bug. CHAOS_DIE_AT: a crash point, and there the process is gone at the n-th time. */
const { CHAOS_PATCH, CHAOS_DIE_AT, CHAOS_DIE_AFTER = '1' } = process.env

if (CHAOS_DIE_AT !== undefined) {
  let left = Number(CHAOS_DIE_AFTER)
  Object.assign(globalThis, {
    chaosPoint(name: string) {
      if (name !== CHAOS_DIE_AT || --left > 0) return
      writeSync(2, `died ${name}\n`)
      process.kill(process.pid, 'SIGKILL')
      // The signal may take a moment, and nothing may happen in it.
      for (;;);
    },
  })
}

const patches = [CHAOS_PATCH, CHAOS_DIE_AT].flatMap((name) => (name === undefined ? [] : patchesNamed(name)))
if (patches.length > 0) {
  const awaited = new Set(patches)
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      const here = patches.filter(({ file }) => url.endsWith(`/${file}`))
      if (here.length === 0) return loaded
      let source = Buffer.from(loaded.source as Uint8Array).toString()
      for (const patch of here) {
        const { file, find, replace } = patch
        const found = source.split(find).length - 1
        if (found !== 1) fail(`${file} has this ${found} times, not once: ${find}`)
        source = source.replace(find, () => replace)
        awaited.delete(patch)
      }
      return { ...loaded, source }
    },
  })
  // Whoever says that it is ready has loaded all there is.
  process.send &&= new Proxy(process.send, {
    apply(send, self, message) {
      for (const { file } of awaited) fail(`${file} was not loaded`)
      return Reflect.apply(send, self, message)
    },
  })
}

function fail(why: string): never {
  writeSync(2, `chaos: ${why}\n`)
  process.exit(70)
}
