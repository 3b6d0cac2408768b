import type { HttpAction } from './definition.ts'
import type { Scope, Values } from './expression.ts'
import type { Json, JsonProblem } from './json.ts'
import {
  compileHeader,
  compilePath,
  compileTemplate,
  compileUrl,
  type Rendered,
  references,
  render,
  renderHeader,
  renderUrl,
  type Template,
  type TextTemplate,
} from './template.ts'

/** What an HTTP action sends, with its expressions compiled. */
export type RequestTemplate = {
  /** A whole URL, or the path at a service. */
  target: { is: 'url' | 'path'; text: TextTemplate }
  headers: readonly (readonly [name: string, value: TextTemplate])[]
  body: Template | undefined
}

/** A request with every expression replaced by its value. */
export type RenderedRequest = {
  url?: string
  path?: string
  headers: Record<string, string>
  body: Json | undefined
}

export type CompiledRequest =
  | { ok: true; request: RequestTemplate; context: string[] }
  | { ok: false; problems: JsonProblem[] }

/** What a request is written as, in an action, a compensation or a probe. */
type Written = Pick<HttpAction, 'url' | 'path' | 'headers' | 'body'>

/** @param pointer to the action in its definition */
export function compileRequest(action: Written, scope: Scope, pointer: string): CompiledRequest {
  const is = action.url === undefined ? 'path' : 'url'
  const target =
    action.url === undefined
      ? compilePath(action.path ?? '', scope, `${pointer}/path`)
      : compileUrl(action.url, scope, `${pointer}/url`)
  const body = action.body === undefined ? undefined : compileTemplate(action.body, scope, `${pointer}/body`)
  const headers = Object.entries(action.headers ?? {}).map(([name, value]) => {
    return { name, compiled: compileHeader(value, scope, `${pointer}/headers/${name}`) }
  })
  const problems = [
    target,
    ...headers.map(({ compiled }) => compiled),
    ...(body === undefined ? [] : [body]),
  ].flatMap((compiled) => (compiled.ok ? [] : compiled.problems))
  if (!target.ok || (body !== undefined && !body.ok) || problems.length > 0) return { ok: false, problems }
  const values = headers.flatMap(({ name, compiled }) =>
    compiled.ok ? [[name, compiled.template] as const] : [],
  )
  const request: RequestTemplate = {
    target: { is, text: target.template },
    headers: values,
    body: body?.template,
  }
  const templates = [
    target.template,
    ...values.map(([, value]) => value),
    ...(request.body === undefined ? [] : [request.body]),
  ]
  return { ok: true, request, context: [...new Set(templates.flatMap((one) => references(one).context))] }
}

/** Never throws. What fails says at which place of the definition. */
export function renderRequest(request: RequestTemplate, values: Values): Rendered<RenderedRequest> {
  const target = renderUrl(request.target.text, values)
  if (!target.ok) return target
  const headers: Record<string, string> = {}
  for (const [name, template] of request.headers) {
    const header = renderHeader(template, values)
    if (!header.ok) return header
    headers[name] = header.value
  }
  const to = request.target.is === 'url' ? { url: target.value } : { path: target.value }
  if (request.body === undefined) return { ok: true, value: { ...to, headers, body: undefined } }
  const body = render(request.body, values)
  return body.ok ? { ok: true, value: { ...to, headers, body: body.value } } : body
}
