/**
 * Arrays in Postgres's binary wire format. A group commit sends its rows as arrays; as text they would cost the server
 * more to parse than the rows cost to write (docs/reference/performance.md).
 *
 * Layout: dimensions (1), has-nulls flag, element type, length, lower bound (1), then each element as length and bytes;
 * length -1 is NULL.
 */

const HEADER = 20
const INT2 = 21
const INT4 = 23
const INT8 = 20
const BOOL = 16
const TEXT = 25
const UUID = 2950
const JSON_TEXT = 114
const JSONB = 3802
const TIMESTAMPTZ = 1184

/** 2000-01-01T00:00:00Z, from which Postgres counts, in milliseconds since 1970. */
const POSTGRES_EPOCH_MS = 946_684_800_000
const TWO_32 = 4_294_967_296

export function int2Array(values: readonly number[]): Buffer {
  return fixed(INT2, values, 2, (buffer, value, at) => buffer.writeInt16BE(whole(value), at))
}

export function int4Array(values: readonly number[]): Buffer {
  return fixed(INT4, values, 4, (buffer, value, at) => buffer.writeInt32BE(whole(value), at))
}

export function int8Array(values: readonly number[]): Buffer {
  return fixed(INT8, values, 8, writeInt64)
}

export function boolArray(values: readonly boolean[]): Buffer {
  return fixed(BOOL, values, 1, (buffer, value, at) => buffer.writeUInt8(value ? 1 : 0, at))
}

export function uuidArray(values: readonly (string | undefined)[]): Buffer {
  return fixed(UUID, values, 16, writeUuid)
}

/** Instants in milliseconds since 1970. */
export function timestamptzArray(values: readonly (number | undefined)[]): Buffer {
  return fixed(TIMESTAMPTZ, values, 8, (buffer, value, at) =>
    writeInt64(buffer, Math.round((value - POSTGRES_EPOCH_MS) * 1000), at),
  )
}

export function textArray(values: readonly (string | undefined)[]): Buffer {
  return strings(TEXT, values, 0)
}

/** Documents already written as JSON, to be kept as they are written. */
export function jsonArray(values: readonly (string | undefined)[]): Buffer {
  return strings(JSON_TEXT, values, 0)
}

/** Documents already written as JSON. */
export function jsonbArray(values: readonly string[]): Buffer {
  return strings(JSONB, values, 1)
}

function header(type: number, count: number, size: number, hasNulls: boolean): Buffer {
  const buffer = Buffer.allocUnsafe(size)
  buffer.writeInt32BE(1, 0)
  buffer.writeInt32BE(hasNulls ? 1 : 0, 4)
  buffer.writeInt32BE(type, 8)
  buffer.writeInt32BE(count, 12)
  buffer.writeInt32BE(1, 16)
  return buffer
}

/** Loops by index: an iterator for each of a thousand short arrays a second was most of what these left to be collected. */
function fixed<T extends number | boolean | string>(
  type: number,
  values: readonly (T | undefined)[],
  width: number,
  write: (buffer: Buffer, value: T, at: number) => void,
): Buffer {
  let nulls = 0
  for (let index = 0; index < values.length; index++) if (values[index] === undefined) nulls++
  const size = HEADER + values.length * 4 + (values.length - nulls) * width
  const buffer = header(type, values.length, size, nulls > 0)
  let at = HEADER
  for (let index = 0; index < values.length; index++) {
    const value = values[index]
    if (value === undefined) {
      at = buffer.writeInt32BE(-1, at)
    } else {
      at = buffer.writeInt32BE(width, at)
      write(buffer, value, at)
      at += width
    }
  }
  return buffer
}

/** `prefix` bytes of value 1 come before each text: jsonb has one, its format's version. */
function strings(type: number, values: readonly (string | undefined)[], prefix: number): Buffer {
  let size = HEADER
  let hasNulls = false
  for (let index = 0; index < values.length; index++) {
    const value = values[index]
    if (value === undefined) hasNulls = true
    size += 4 + (value === undefined ? 0 : Buffer.byteLength(value) + prefix)
  }
  const buffer = header(type, values.length, size, hasNulls)
  let at = HEADER
  for (let index = 0; index < values.length; index++) {
    const value = values[index]
    if (value === undefined) {
      at = buffer.writeInt32BE(-1, at)
      continue
    }
    const start = at + 4
    buffer.fill(1, start, start + prefix)
    const end = start + prefix + buffer.write(value, start + prefix)
    buffer.writeInt32BE(end - start, at)
    at = end
  }
  return buffer
}

/** Its digits two by two, wherever its hyphens stand. */
function writeUuid(buffer: Buffer, text: string, at: number): void {
  let digits = 0
  let high = 0
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code === HYPHEN) continue
    const digit = hexDigit(code)
    if (digit === undefined || digits === 32) throw new RangeError(`"${text}" is not a UUID`)
    if (digits % 2 === 0) high = digit
    else buffer[at + (digits >> 1)] = high * 16 + digit
    digits++
  }
  if (digits !== 32) throw new RangeError(`"${text}" is not a UUID`)
}

const HYPHEN = 45

function hexDigit(code: number): number | undefined {
  if (code >= 48 && code <= 57) return code - 48
  const lower = code | 32
  return lower >= 97 && lower <= 102 ? lower - 87 : undefined
}

/** Node writes NaN as 0 and 1.5 as 1: what is wrong must fail here, not be stored as something else. */
function whole(value: number): number {
  if (!Number.isInteger(value)) throw new RangeError(`${value} is not a whole number`)
  return value
}

function writeInt64(buffer: Buffer, value: number, at: number): void {
  whole(value)
  const high = Math.floor(value / TWO_32)
  buffer.writeInt32BE(high, at)
  buffer.writeUInt32BE(value - high * TWO_32, at + 4)
}
