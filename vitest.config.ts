import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

// Two projects, so that tests which need no database start none: the server starts for the first file of `postgres`.
const standalone = [
  'packages/{addresses,core,input-schema,sdk,local-postgres}/src/**/*.test.ts',
  'examples/*/src/**/*.test.ts',
  'tests/{architecture,bootstrap,failure-classes}.test.ts',
  'tests/{model,simulation}/*.test.ts',
]

// No test is right by being quick: these are for one that would never end. A machine may be ten times slower than another.
const patience = { testTimeout: 180_000, hookTimeout: 180_000, expect: { poll: { timeout: 60_000 } } }

export default defineConfig({
  test: {
    // On two cores, too: what most tests do most of the time is wait.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    coverage: {
      provider: 'v8',
      include: ['packages/*/src/**/*.ts', 'apps/*/src/**/*.ts'],
      exclude: ['**/*.test.ts', '**/testing.ts'],
      reporter: ['text-summary', 'html'],
    },
    projects: [
      { test: { name: 'standalone', include: standalone, environment: 'node', ...patience } },
      {
        test: {
          name: 'postgres',
          include: [
            '{packages,apps,examples}/*/src/**/*.test.ts',
            'tests/**/*.test.ts',
            'bench/**/*.test.ts',
          ],
          exclude: [...standalone, '**/node_modules/**'],
          environment: 'node',
          globalSetup: ['tests/support/postgres.ts'],
          ...patience,
        },
      },
    ],
  },
})
