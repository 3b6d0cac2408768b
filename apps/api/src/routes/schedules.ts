import { randomUUID } from 'node:crypto'
import {
  Name,
  nextInstant,
  Problem,
  PutSchedule,
  pageOf,
  Schedule,
  ScheduleStarted,
  ScheduleSummary,
  ScheduleVerb,
  startOf,
  timingOf,
} from '@backstitch/core'
import type { Gone, Unreadable } from '@backstitch/store'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { App, Door } from '../app.ts'
import { readCursor, writeCursor } from '../cursors.ts'
import {
  matchedVersion,
  noSuchSchedule,
  Paging,
  SchedulePath,
  StartHeaders,
  scheduleNameOf,
  VerbHeaders,
} from '../parameters.ts'
import { actorOf } from '../plugins/actor.ts'
import { answers } from '../plugins/openapi.ts'
import { refuseNamelessTag } from '../starting.ts'

const BODY_BYTES = 128 * 1024
const BODY_PROBLEMS = [
  'MALFORMED_JSON',
  'BAD_REQUEST',
  'STALE_VERSION',
  'BODY_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'INVALID_REQUEST',
] as const

/** Sagas to be started by the calendar (S38). The workers fire them; here they are written down, and run at once if asked to. */
export function scheduleRoutes(app: App, { store, starting, basePath }: Door): void {
  const note = (request: FastifyRequest, act: string, id: string, reason?: string) =>
    store().audit.record({ actor: actorOf(request), act, kind: 'schedule', id, reason })

  app.put(
    '/v1/schedules/:name',
    {
      bodyLimit: BODY_BYTES,
      schema: {
        tags: ['schedules'],
        operationId: 'putSchedule',
        summary: 'Create a schedule (201), or replace it (200)',
        description:
          'The same again changes nothing. A time that has come and has not been answered yet is kept, unless the new one says when anew.',
        params: SchedulePath,
        headers: VerbHeaders,
        body: PutSchedule,
        response: answers(
          { 200: Schedule, 201: Schedule },
          ...BODY_PROBLEMS,
          'DEFINITION_NOT_FOUND',
          'INPUT_TOO_LARGE',
          'INVALID_INPUT',
        ),
      },
    },
    async (request, reply) => {
      const name = nameToBe(request.params.name)
      refuseNamelessTag(request.sent ?? null)
      const { input, paused, ...spec } = request.body
      const ifVersion = matchedVersion(request.headers['if-match'])
      // What it will be like when it runs: at which instant does not matter to a schema.
      await starting.check(startOf(name, spec, input, nextInstant(timingOf(spec), 0) ?? 0))
      const put = await store().schedules.put(
        name,
        { spec, input, paused },
        { actor: actorOf(request), ifVersion },
      )
      if (put.is === 'stale') throw stale(put.version, ifVersion)
      if (put.is === 'past') {
        const detail = `has passed: it is ${put.now}; give a time to come`
        throw new Problem('INVALID_REQUEST', `/at: ${detail}`, { errors: [{ pointer: '/at', detail }] })
      }
      await note(request, put.is === 'created' ? 'created' : 'replaced', name)
      if (put.is === 'created') reply.code(201).header('location', `${basePath}/v1/schedules/${name}`)
      return answer(reply, put.schedule)
    },
  )

  app.get(
    '/v1/schedules',
    {
      schema: {
        tags: ['schedules'],
        operationId: 'listSchedules',
        summary: 'All schedules, by name',
        querystring: z.strictObject(Paging),
        response: answers({ 200: pageOf(ScheduleSummary) }, 'BAD_REQUEST', 'INVALID_CURSOR'),
      },
    },
    async ({ query: { limit, cursor } }) => {
      const after = cursor === undefined ? undefined : readCursor(cursor, 'schedules', z.string())
      const found = await store().schedules.list({ after, limit: limit + 1 })
      const items = found.slice(0, limit)
      const last = found.length > limit ? items.at(-1) : undefined
      return { items, ...(last && { nextCursor: writeCursor('schedules', last.name) }) }
    },
  )

  app.get(
    '/v1/schedules/:name',
    {
      schema: {
        tags: ['schedules'],
        operationId: 'getSchedule',
        summary: 'One schedule: when it runs next, and what became of its last runs',
        params: SchedulePath,
        response: answers({ 200: Schedule }, 'SCHEDULE_NOT_FOUND'),
      },
    },
    async ({ params }, reply) => {
      const name = scheduleNameOf(params)
      const schedule = await store().schedules.get(name)
      if (schedule === undefined) throw noSuchSchedule(name)
      return answer(reply, schedule)
    },
  )

  app.delete(
    '/v1/schedules/:name',
    {
      schema: {
        tags: ['schedules'],
        operationId: 'deleteSchedule',
        summary: 'Delete a schedule, and answer with what it was; the sagas it has started go on',
        params: SchedulePath,
        headers: VerbHeaders,
        response: answers({ 200: Schedule }, 'BAD_REQUEST', 'SCHEDULE_NOT_FOUND', 'STALE_VERSION'),
      },
    },
    async (request) => {
      const name = scheduleNameOf(request.params)
      const ifVersion = matchedVersion(request.headers['if-match'])
      const deleted = await store().schedules.delete(name, { ifVersion })
      if (deleted.is !== 'deleted') throw gone(deleted, name, ifVersion)
      await note(request, 'deleted', name)
      request.log.info({ schedule: name, actor: actorOf(request) }, 'a schedule was deleted')
      return deleted.schedule
    },
  )

  for (const [verb, summary] of [
    ['pause', 'Start nothing until it is resumed'],
    ['resume', 'Go on with the next time; what came meanwhile is not caught up'],
  ] as const) {
    app.post(
      `/v1/schedules/:name/${verb}`,
      {
        bodyLimit: BODY_BYTES,
        schema: {
          tags: ['schedules'],
          operationId: `${verb}Schedule`,
          summary,
          params: SchedulePath,
          headers: VerbHeaders,
          body: ScheduleVerb,
          response: answers(
            { 200: Schedule },
            ...BODY_PROBLEMS,
            'SCHEDULE_NOT_FOUND',
            ...(verb === 'resume' ? (['VERB_NOT_POSSIBLE'] as const) : []),
          ),
        },
      },
      async (request, reply) => {
        const name = scheduleNameOf(request.params)
        const ifVersion = matchedVersion(request.headers['if-match'])
        const by = { actor: actorOf(request), reason: request.body.reason, ifVersion }
        const changed = await store().schedules[verb](name, by)
        if (changed.is !== 'changed') throw gone(changed, name, ifVersion)
        await note(request, verb, name, by.reason)
        return answer(reply, changed.schedule)
      },
    )
  }

  app.post(
    '/v1/schedules/:name/run-now',
    {
      bodyLimit: BODY_BYTES,
      schema: {
        tags: ['schedules'],
        operationId: 'runScheduleNow',
        summary: 'Start its saga now, beside the plan',
        description:
          'Also while it is paused, and while another run has not ended: a person has asked for it. With the same `Idempotency-Key` it is done once.',
        params: SchedulePath,
        headers: VerbHeaders.extend(StartHeaders.pick({ 'idempotency-key': true }).shape),
        body: ScheduleVerb,
        response: answers(
          { 202: ScheduleStarted },
          ...BODY_PROBLEMS,
          'SCHEDULE_NOT_FOUND',
          'DEFINITION_NOT_FOUND',
          'INVALID_INPUT',
          'VERB_NOT_POSSIBLE',
        ),
      },
    },
    async (request, reply) => {
      const name = scheduleNameOf(request.params)
      const ifVersion = matchedVersion(request.headers['if-match'])
      const by = { actor: actorOf(request), reason: request.body.reason, ifVersion }
      const key = request.headers['idempotency-key'] ?? randomUUID()
      const ran = await store().schedules.runNow(name, by, async ({ scheduleId, spec, input }, now) => {
        const scheduleKey = `${scheduleId}:now:${key}`
        const asked = startOf(name, spec, input, now)
        const started = await starting.start({ sent: scheduleKey, asked, caller: { scheduleKey } })
        return started.is === 'started' ? started.saga.sagaId : started.sagaId
      })
      if (ran.is !== 'started') throw gone(ran, name, ifVersion)
      const { sagaId, instant } = ran
      await note(request, 'runNow', name, by.reason)
      return reply.code(202).header('location', `${basePath}/v1/sagas/${sagaId}`).send({ sagaId, instant })
    },
  )
}

function answer(reply: FastifyReply, schedule: Schedule): Schedule {
  reply.header('etag', `"${schedule.version}"`)
  return schedule
}

function nameToBe(name: string): string {
  const parsed = Name.safeParse(name)
  if (parsed.success) return parsed.data
  const detail = parsed.error.issues[0]?.message ?? 'is not a name'
  throw new Problem('BAD_REQUEST', `"${name}": ${detail}`, { errors: [{ pointer: '/params/name', detail }] })
}

function gone(answer: Gone | Unreadable, name: string, matched: number | undefined): Problem {
  if (answer.is === 'unreadable') {
    const detail = `schedule "${name}" cannot run: ${answer.why}; replace it with a PUT, or delete it`
    return new Problem('VERB_NOT_POSSIBLE', detail)
  }
  return answer.is === 'unknown' ? noSuchSchedule(name) : stale(answer.version, matched)
}

function stale(version: number | undefined, matched: number | undefined): Problem {
  const there = version === undefined ? 'there is no such schedule' : `the schedule has version ${version}`
  return new Problem('STALE_VERSION', `If-Match names version ${matched}, ${there}; read it and decide again`)
}
