import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { ApiProblem } from './api.ts'
import { listen, pollMsOf } from './live.ts'
import { createPages } from './pages.tsx'
import './style.css'

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // What a person looks at is never older than this; what nobody looks at is not asked for.
      refetchInterval: ({ queryKey }) => pollMsOf(queryKey),
      refetchIntervalInBackground: false,
      staleTime: 1_000,
      retry: (count, error) =>
        error instanceof ApiProblem && error.status >= 400 && error.status < 500 ? false : count < 3,
    },
  },
})

listen(queries)

const root = document.getElementById('root')
if (root === null) throw new Error('the page has no #root')
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <RouterProvider router={createPages()} />
    </QueryClientProvider>
  </StrictMode>,
)
