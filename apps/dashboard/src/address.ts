import { useParams, useSearch } from '@tanstack/react-router'

/** What stands in the page's address: texts, whatever somebody has written into it. */

export function useParam(name: string): string {
  const params: Readonly<Record<string, unknown>> = useParams({ strict: false })
  const value = params[name]
  return typeof value === 'string' ? value : ''
}

export function useTexts(): Readonly<Record<string, string>> {
  return textsOf(useSearch({ strict: false }))
}

/** Whatever is no text is left out. */
export function textsOf(search: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(search).flatMap(([name, value]) =>
      typeof value === 'string' || typeof value === 'number' ? [[name, String(value)]] : [],
    ),
  )
}
