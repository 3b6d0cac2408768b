import tailwind from '@tailwindcss/vite'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

/** Everything it needs is in the build, and every address in it is relative: the API says where it is served (index.html). */
export default defineConfig({
  base: './',
  plugins: [react(), tailwind()],
  build: {
    target: 'es2024',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1_000,
  },
  // For `pnpm --filter @backstitch/dashboard dev`, beside an API on its usual port.
  server: { proxy: { '/v1': 'http://127.0.0.1:8080' } },
})
