export { createInputSchemas, type InputSchemas } from './input-schema.ts'
