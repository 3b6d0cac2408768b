import { expect, test } from 'vitest'
import { openStageForTest } from '../testing.ts'

const types = ['saga.stuck']

test.each([
  'http://127.0.0.1/hook',
  'http://0x7f.1:9000',
  'http://localhost:3000',
  'http://[::1]/',
  'http://169.254.169.254/latest/meta-data',
  'http://10.0.0.7',
  'http://1.2.3.4.5/',
])(
  'a webhook inside the network is refused when it is made and when it is changed, with the place: %s',
  async (url) => {
    const { ask } = await openStageForTest()
    const made = await ask('POST', '/v1/webhooks', { body: { url, types } })
    expect(made).toMatchObject({
      status: 422,
      body: { code: 'INVALID_REQUEST', errors: [{ pointer: '/url' }] },
    })
    const outside = await ask('POST', '/v1/webhooks', { body: { url: 'https://hooks.example/a', types } })
    const path = `/v1/webhooks/${String(outside.body.webhookId)}`
    const changed = await ask('PATCH', path, { body: { url } })
    expect(changed).toMatchObject({ status: 422, body: { errors: [{ pointer: '/url' }] } })
    expect((await ask('GET', path)).body).toMatchObject({ url: 'https://hooks.example/a' })
  },
)

test('a webhook inside the network is taken where an operator allows it', async () => {
  const { ask } = await openStageForTest({ webhookAllow: ['10.0.0.0/8', 'localhost'] })
  const statusOf = async (url: string) => (await ask('POST', '/v1/webhooks', { body: { url, types } })).status
  expect(await statusOf('http://10.1.2.3:9000/hook')).toBe(201)
  expect(await statusOf('http://localhost/hook')).toBe(201)
  expect(await statusOf('http://127.0.0.1/hook')).toBe(422)
})
