/** What is in the bar at the side; `g` and the key leads there. */
export const PAGES = [
  { to: '/', name: 'Overview', key: 'o' },
  { to: '/sagas', name: 'Sagas', key: 's' },
  { to: '/definitions', name: 'Definitions', key: 'd' },
  { to: '/workers', name: 'Workers', key: 'w' },
  { to: '/services', name: 'Services', key: 'v' },
  { to: '/schedules', name: 'Schedules', key: 'c' },
  { to: '/webhooks', name: 'Webhooks', key: 'h' },
  { to: '/bulk', name: 'Bulk', key: 'b' },
  { to: '/audit', name: 'Audit log', key: 'a' },
] as const
