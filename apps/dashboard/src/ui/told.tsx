import type { ReactNode } from 'react'
import { ApiProblem } from '../api.ts'

/** What a person is told when there is nothing to show, or something went wrong. */

export function Wrong({ error }: { error: unknown }) {
  const problem = error instanceof ApiProblem ? error.problem : undefined
  return (
    <div role="alert" className="rounded-md border border-stuck bg-stuck-sheet p-3">
      <p className="font-medium break-words">{error instanceof Error ? error.message : String(error)}</p>
      {problem?.errors?.map(({ pointer, detail }) => (
        <p key={`${pointer} ${detail}`} className="mt-1 font-mono text-[12px] break-words">
          {pointer}: {detail}
        </p>
      ))}
      {problem !== undefined && (
        <p className="mt-1 text-[12px] text-soft">
          {problem.code} · {problem.status} · request {problem.requestId}
        </p>
      )}
    </div>
  )
}

/** Says what belongs here, and how it would come to be. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="sheet px-6 py-10 text-center">
      <div className="seam mx-auto mb-5 w-40" aria-hidden="true" />
      <h2 className="text-base font-semibold">{title}</h2>
      <div className="mx-auto mt-1 max-w-prose text-soft">{children}</div>
    </div>
  )
}

export function Command({ children }: { children: string }) {
  return (
    <pre className="mt-3 overflow-x-auto rounded-md bg-sunk px-3 py-2 text-left font-mono text-[12px] text-ink">
      {children}
    </pre>
  )
}

export function Loading() {
  return (
    <p role="status" className="p-4 text-faint">
      Loading …
    </p>
  )
}

export function Title({ children, aside }: { children: ReactNode; aside?: ReactNode }) {
  return (
    <div className="mb-4 flex flex-wrap items-end justify-between gap-3">
      <h1 className="text-xl font-semibold tracking-tight">{children}</h1>
      {aside !== undefined && <div className="flex flex-wrap items-center gap-2">{aside}</div>}
    </div>
  )
}

/** Text that came from outside: it breaks where it must and can do nothing else. */
export function Text({ children, lines = 2 }: { children: string; lines?: number }) {
  const clamp = lines === 1 ? 'line-clamp-1' : lines === 2 ? 'line-clamp-2' : 'line-clamp-6'
  return (
    <bdi className={`break-words [overflow-wrap:anywhere] ${clamp}`} title={children.slice(0, 2_000)}>
      {children.slice(0, 10_000)}
    </bdi>
  )
}
