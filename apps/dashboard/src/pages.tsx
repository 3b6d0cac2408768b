import { createRootRoute, createRoute, createRouter } from '@tanstack/react-router'
import { textsOf } from './address.ts'
import { AuditPage } from './pages/audit.tsx'
import { BulkPage } from './pages/bulk.tsx'
import { DefinitionPage } from './pages/definition.tsx'
import { DefinitionsPage } from './pages/definitions.tsx'
import { OverviewPage } from './pages/overview.tsx'
import { SagaPage } from './pages/saga.tsx'
import { SagasPage } from './pages/sagas.tsx'
import { SchedulesPage } from './pages/schedules.tsx'
import { ServicesPage } from './pages/services.tsx'
import { WebhooksPage } from './pages/webhooks.tsx'
import { WorkersPage } from './pages/workers.tsx'
import { Shell } from './shell.tsx'
import { Empty } from './ui/told.tsx'

/** Which address shows which page. What a page shows is in its address, filters included. */

const root = createRootRoute({
  component: Shell,
  notFoundComponent: () => <Empty title="There is no such page">The pages are in the bar at the side.</Empty>,
})

const at = (path: string, component: () => React.JSX.Element) =>
  createRoute({ getParentRoute: () => root, path, component, validateSearch: textsOf })

const tree = root.addChildren([
  at('/', OverviewPage),
  at('/sagas', SagasPage),
  at('/sagas/$sagaId', SagaPage),
  at('/definitions', DefinitionsPage),
  at('/definitions/$name', DefinitionPage),
  at('/workers', WorkersPage),
  at('/services', ServicesPage),
  at('/schedules', SchedulesPage),
  at('/webhooks', WebhooksPage),
  at('/bulk', BulkPage),
  at('/audit', AuditPage),
])

export function createPages() {
  return createRouter({
    routeTree: tree,
    basepath: new URL(document.baseURI).pathname.replace(/\/$/, ''),
    parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
    stringifySearch: (search) => {
      const text = new URLSearchParams(textsOf(search)).toString()
      return text === '' ? '' : `?${text}`
    },
    defaultPreload: false,
    scrollRestoration: true,
  })
}
