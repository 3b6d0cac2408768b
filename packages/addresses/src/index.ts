export { type Leash, linkLocalLeash, outsideLeash, readAllowed } from './addresses.ts'
