import { z } from 'zod'
import { errorSchema } from '../schemas/error.ts'
import type { EndpointSpec } from './endpoint.ts'

type Json = Record<string, unknown>

const ACCESS: Readonly<Record<EndpointSpec['access'], string>> = {
  public: 'Needs no authentication.',
  user: 'Needs an authenticated user.',
  administrator: 'For administrators.',
}

/** The API as an OpenAPI 3.1 document, made from the schemas that requests are checked against. */
export function buildOpenApi(specs: readonly EndpointSpec[], version: string): Json {
  const paths: Record<string, Json> = {}
  for (const spec of specs) {
    const path = spec.path.replace(/\*$/, ':path').replaceAll(/:([a-z-]+)/gi, '{$1}')
    paths[path] = { ...paths[path], [spec.method]: operationOf(spec) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Waiter',
      version,
      description:
        'Runs HTTP services when, and only when, there is traffic. Every answer has an `x-cid` header; errors come as JSON, HTML or text, by `accept`.',
    },
    servers: [{ url: '/' }],
    tags: [...new Set(specs.map(spec => spec.tag))].map(name => ({ name })),
    paths,
    components: { schemas: { WaiterError: toSchema(errorSchema) } },
  }
}

function operationOf(spec: EndpointSpec): Json {
  const parameters = [...pathParametersOf(spec.path), ...queryParametersOf(spec)]
  const notes = [spec.description, ACCESS[spec.access], spec.otherQuery].filter(note => note !== undefined)
  return {
    operationId: operationIdOf(spec),
    tags: [spec.tag],
    summary: spec.summary,
    description: notes.join('\n\n'),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(spec.body === undefined
      ? {}
      : { requestBody: { required: true, content: { 'application/json': { schema: toSchema(spec.body, 'input') } } } }),
    responses: {
      ...Object.fromEntries(Object.entries(spec.answers).map(([status, answer]) => [status, answerOf(answer)])),
      default: {
        description: 'An error.',
        content: {
          'application/json': { schema: { $ref: '#/components/schemas/WaiterError' } },
          'text/html': {},
          'text/plain': {},
        },
      },
    },
  }
}

function operationIdOf({ method, path }: EndpointSpec): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter(word => word !== '')
  return [method, ...(words.length === 0 ? ['root'] : words)].join('-')
}

function pathParametersOf(path: string): Json[] {
  return [...path.replace(/\*$/, ':path').matchAll(/:([a-z-]+)/gi)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
}

function queryParametersOf(spec: EndpointSpec): Json[] {
  return Object.entries(spec.query ?? {}).map(([name, parameter]) => {
    const { description, ...schema } = toSchema(parameter)
    return { name, in: 'query', required: false, schema, ...(description === undefined ? {} : { description }) }
  })
}

function answerOf(answer: EndpointSpec['answers'][number]): Json {
  const content: Json = {}
  if (answer.json !== undefined) content['application/json'] = { schema: toSchema(answer.json) }
  for (const media of answer.media ?? []) content[media] = {}
  return { description: answer.description, ...(Object.keys(content).length === 0 ? {} : { content }) }
}

function toSchema(schema: z.ZodType, io: 'input' | 'output' = 'output'): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as Json
  return rest
}
