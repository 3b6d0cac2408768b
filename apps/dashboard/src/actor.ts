/** Who acts here. Until there are credentials it is what the person says, kept in this one place. */

const KEY = 'backstitch.actor'
let name = read()
const listeners = new Set<() => void>()

function read(): string {
  try {
    return localStorage.getItem(KEY) ?? ''
  } catch {
    return ''
  }
}

export function actor(): string {
  return name === '' ? 'dashboard' : name
}

export function namedActor(): string {
  return name
}

export function setActor(next: string): void {
  name = next.trim().slice(0, 100)
  try {
    localStorage.setItem(KEY, name)
  } catch {
    // Not kept: asked again next time.
  }
  for (const listener of listeners) listener()
}

export function onActor(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}
