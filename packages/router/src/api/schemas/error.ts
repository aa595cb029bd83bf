import { z } from 'zod'

/** An error answer as JSON (spec §1.7). */
export const errorSchema: z.ZodType = z.strictObject({
  'waiter-error': z.strictObject({
    cid: z.string(),
    details: z.looseObject({ status: z.int(), 'log-level': z.string() }),
    host: z.string(),
    'instance-id': z.string().nullable(),
    message: z.string(),
    principal: z.string().nullable(),
    'query-string': z.string().nullable(),
    'request-method': z.string(),
    'service-id': z.string().nullable(),
    'service-owner': z.string().optional(),
    status: z.int().min(400).max(599),
    'support-info': z.array(
      z.strictObject({ label: z.string(), link: z.strictObject({ type: z.string(), value: z.string() }) }),
    ),
    timestamp: z.string(),
    title: z.string(),
    uri: z.string(),
    'waiter-token': z.string().optional(),
  }),
})
