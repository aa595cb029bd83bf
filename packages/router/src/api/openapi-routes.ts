import { z } from 'zod'
import type { Endpoints } from './contract/endpoint.ts'
import { buildOpenApi } from './contract/openapi.ts'
import { OTHER_ENDPOINTS } from './contract/other-endpoints.ts'

/** `/openapi.json`: this API as an OpenAPI 3.1 document. Added last, so that it knows all endpoints. */
export function addOpenApiRoutes(endpoints: Endpoints, version: string): void {
  for (const spec of OTHER_ENDPOINTS) endpoints.describe(spec)
  let text: string | undefined
  endpoints.add(
    {
      method: 'get',
      path: '/openapi.json',
      summary: 'This API as an OpenAPI 3.1 document',
      tag: 'pages',
      access: 'public',
      answers: { 200: { description: 'The document.', json: z.looseObject({ openapi: z.string() }) } },
    },
    ({ call }) => {
      text ??= JSON.stringify(buildOpenApi(endpoints.specs, version))
      return call.body(text, 200, { 'content-type': 'application/json' })
    },
  )
}
