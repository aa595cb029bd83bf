import { z } from 'zod'
import { descriptionSchema } from './service.ts'

/** `/waiter-ping` (spec §4.8). */
export const pingSchema: z.ZodType = z.strictObject({
  'ping-response': z.strictObject({
    result: z.enum(['received-response', 'timed-out', 'descriptor-error', 'waiter-response', 'ping-internal-error']),
    status: z.int(),
    body: z.string(),
    headers: z.record(z.string(), z.string()),
    instance: z.strictObject({ id: z.string(), host: z.string(), port: z.int() }).optional(),
  }),
  'service-description': descriptionSchema.nullable(),
  'service-state': z.union([
    z.strictObject({
      'exists?': z.boolean(),
      'healthy?': z.boolean(),
      'service-id': z.string().nullable(),
      status: z.enum(['Failing', 'Inactive', 'Starting', 'Running']),
    }),
    z.strictObject({ result: z.literal('excluded'), 'service-id': z.string() }),
  ]),
})
