import { isObject, textOf } from '../saga/course.ts'

/** A form out of a JSON Schema, where that is an object of simple values. What it does not say, it does not ask. */

export type Field = {
  name: string
  type: 'string' | 'number' | 'integer' | 'boolean'
  isRequired: boolean
  title: string | undefined
  description: string | undefined
  options: string[] | undefined
  initial: string
  minimum: number | undefined
  maximum: number | undefined
  minLength: number | undefined
  maxLength: number | undefined
}

const MOST = 30
/** Whatever else says what fits is beyond fields. */
const BEYOND = ['$ref', 'allOf', 'anyOf', 'oneOf', 'not', 'if', 'patternProperties', 'dependentSchemas']

/** Undefined where JSON is the better form. */
export function fieldsOf(schema: unknown): Field[] | undefined {
  if (!isObject(schema) || !isObject(schema.properties) || BEYOND.some((word) => word in schema))
    return undefined
  const required: unknown[] = Array.isArray(schema.required) ? schema.required : []
  const entries = Object.entries(schema.properties)
  if (entries.length === 0 || entries.length > MOST) return undefined
  const fields = entries.map(([name, of]) => fieldOf(name, of, required.includes(name)))
  if (!fields.every((field) => field !== undefined)) return undefined
  return fields.toSorted((one, other) => Number(other.isRequired) - Number(one.isRequired))
}

function fieldOf(name: string, of: unknown, isRequired: boolean): Field | undefined {
  if (!isObject(of) || BEYOND.some((word) => word in of)) return undefined
  const options =
    Array.isArray(of.enum) && of.enum.every((one) => typeof one === 'string')
      ? of.enum.map(String)
      : undefined
  const type = of.type ?? (options === undefined ? undefined : 'string')
  if (type !== 'string' && type !== 'number' && type !== 'integer' && type !== 'boolean') return undefined
  if ('enum' in of && (options === undefined || type !== 'string')) return undefined
  const text = (value: unknown) => (typeof value === 'string' ? value : undefined)
  const number = (value: unknown) => (typeof value === 'number' ? value : undefined)
  const fallback = isRequired ? (options?.[0] ?? (type === 'boolean' ? 'false' : '')) : ''
  return {
    name,
    type,
    isRequired,
    options,
    title: text(of.title),
    description: text(of.description),
    initial: of.default === undefined ? fallback : textOf(of.default),
    minimum: number(of.minimum),
    maximum: number(of.maximum),
    minLength: number(of.minLength),
    maxLength: number(of.maxLength),
  }
}

export function textsOf(fields: readonly Field[]): Record<string, string> {
  return Object.fromEntries(fields.map(({ name, initial }) => [name, initial]))
}

/** What is left empty is not given, unless it must be. */
export function inputOf(
  fields: readonly Field[],
  texts: Readonly<Record<string, string>>,
): Record<string, unknown> {
  return Object.fromEntries(
    fields.flatMap(({ name, type, isRequired }): [string, unknown][] => {
      const text = texts[name] ?? ''
      if (text === '' && (!isRequired || type !== 'string')) return []
      if (type === 'boolean') return [[name, text === 'true']]
      return [[name, type === 'string' ? text : Number(text)]]
    }),
  )
}

/** Something that has the shape, for somebody to write over. */
export function sampleOf(schema: unknown): unknown {
  if (!isObject(schema)) return {}
  const { type, properties, required } = schema
  if ('default' in schema) return schema.default
  if (Array.isArray(schema.enum)) return schema.enum[0]
  if (type === 'object' || isObject(properties)) {
    const wanted: unknown[] = Array.isArray(required) ? required : []
    return Object.fromEntries(
      Object.entries(isObject(properties) ? properties : {})
        .filter(([field]) => wanted.length === 0 || wanted.includes(field))
        .map(([field, of]) => [field, sampleOf(of)]),
    )
  }
  if (type === 'array') return []
  if (type === 'number' || type === 'integer') return 0
  if (type === 'boolean') return false
  return type === 'string' || type === undefined ? '' : null
}
