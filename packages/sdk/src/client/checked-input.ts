import { checkJson, type Json } from '@backstitch/core'
import { BackstitchError } from '../errors.ts'

/** What JSON would silently change, a NaN or a Date, is refused here: at the API it could no longer be seen (S31). */
export function checkedInput(input: unknown, pointer: string, what = 'input'): Json {
  const checked = checkJson(input)
  if (checked.ok) return checked.value
  const { problem } = checked
  const errors = [{ pointer: `${pointer}${problem.pointer}`, detail: problem.detail }]
  throw new BackstitchError({ code: 'INVALID_INPUT', detail: `the ${what} is not JSON`, errors })
}
