import { broken, check, missingTools, sound } from './check.ts'

/** `npm run model`: all of it, with the figures. */

const missing = missingTools()
if (missing !== undefined) {
  console.log(`The model is not checked: ${missing}.`)
  process.exit(0)
}

let wrong = 0
for (const one of sound) {
  const { errors, violated, states, seconds } = await check(one)
  if (errors > 0) wrong++
  console.log(
    `${errors === 0 ? 'holds' : 'FALLS'}  ${one.name}: ${states} states, ${seconds} s ${violated ?? ''}`,
  )
}
for (const one of broken) {
  const { violated, states, seconds } = await check(one)
  const isFound = violated !== undefined && one.falls.test(violated)
  if (!isFound) wrong++
  console.log(
    `${isFound ? 'found' : 'MISSED'}  ${one.name}: ${states} states, ${seconds} s: ${violated ?? 'nothing'}`,
  )
}
process.exitCode = wrong === 0 ? 0 : 1
