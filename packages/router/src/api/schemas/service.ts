import { z } from 'zod'

/** A service description under its wire names; which parameters there are is in docs/services.md. */
export const descriptionSchema: z.ZodType = z.looseObject({
  cmd: z.string().optional(),
  cpus: z.number().optional(),
  mem: z.number().optional(),
  name: z.string().optional(),
  'run-as-user': z.string().optional(),
  version: z.string().optional(),
})

const sourceTokensSchema = z.array(z.array(z.strictObject({ token: z.string(), version: z.string() })))

const problemFields = {
  'deployment-error-message': z.string().optional(),
  'start-trouble': z.string().optional(),
  'deployment-error-details': z.looseObject({}).optional(),
}

const referencesSchema = z.array(z.looseObject({}))

const commonFields = {
  ...problemFields,
  'current-for-tokens': z.array(z.string()).optional(),
  'effective-parameters': descriptionSchema.optional(),
  'last-request-time': z.string().meta({ description: 'ISO-8601; empty: never' }),
  references: referencesSchema.optional(),
  'request-metrics': z.strictObject({ outstanding: z.int().min(0), total: z.int().min(0) }),
  'resource-usage': z.strictObject({ cpus: z.number(), mem: z.number() }),
  'scaling-state': z.enum(['scale-up', 'scale-down', 'stable']),
  'service-description': descriptionSchema,
  'source-tokens': sourceTokensSchema.optional(),
  stale: z.literal(true).optional().meta({ description: 'A newer version has replaced it.' }),
  status: z.enum(['Failing', 'Inactive', 'Starting', 'Running']),
  'takes-over-from': z
    .array(
      z.strictObject({
        'service-id': z.string(),
        state: z.enum(['pending', 'ready', 'withdrawn']),
        reason: z.string(),
        token: z.string(),
        version: z.string(),
        'wanted-instances': z.int().min(0),
      }),
    )
    .optional(),
  'token-fallback': z.strictObject({ 'service-id': z.string() }).optional(),
  withdrawn: z
    .array(
      z.strictObject({
        code: z.enum(['crash-loop', 'error-rate', 'latency']),
        reason: z.string(),
        time: z.string(),
        token: z.string(),
        version: z.string(),
        'replaced-by': z.string(),
      }),
    )
    .optional()
    .meta({ description: 'Versions of tokens that are this service and turned out bad.' }),
}

/** One element of `GET /apps` (spec §4.2). */
export const appSchema: z.ZodType = z.strictObject({
  ...commonFields,
  'instance-counts': z.strictObject({
    'healthy-instances': z.int().min(0),
    'unhealthy-instances': z.int().min(0),
  }),
  instances: z
    .strictObject({
      'healthy-instances': z.array(
        z.strictObject({ host: z.string(), id: z.string(), port: z.int(), 'started-at': z.string() }),
      ),
    })
    .optional(),
  'service-id': z.string(),
  url: z.string(),
})

/** An instance as `/apps/:id`, `/state` and the watch show it (spec §4.3), with what its scheduler adds. */
export const instanceSchema: z.ZodType = z.looseObject({
  'exit-code': z.int().nullable(),
  'extra-ports': z.array(z.int()),
  flags: z.array(z.string()),
  'health-check-status': z.int().nullable(),
  'healthy?': z.boolean(),
  host: z.string(),
  id: z.string(),
  'log-directory': z.string().nullable(),
  'log-url': z.string().optional(),
  message: z.string().nullable(),
  port: z.int(),
  'service-id': z.string(),
  'started-at': z.string(),
  status: z.string().nullable(),
})

const overridesSchema = z.looseObject({})

/** Metrics of a service on one router, or of all together (spec §9.1). */
const metricFields = {
  counters: z.looseObject({}).optional(),
  meters: z.looseObject({}).optional(),
  timers: z.looseObject({}).optional(),
}
export const serviceMetricsSchema: z.ZodType = z.strictObject(metricFields)

/** `GET /apps/:id` (spec §4.3). */
export const appDetailsSchema: z.ZodType = z.strictObject({
  ...commonFields,
  instances: z.strictObject({
    'active-instances': z.array(instanceSchema),
    'failed-instances': z.array(instanceSchema),
    'killed-instances': z.array(instanceSchema),
  }),
  metrics: z
    .strictObject({
      aggregate: z.strictObject({ ...metricFields, 'routers-sent-requests-to': z.int() }),
      routers: z.record(z.string(), serviceMetricsSchema),
      'error-messages': z.record(z.string(), z.string()).optional(),
    })
    .optional(),
  'num-active-instances': z.int().min(0),
  'num-routers': z.int().min(0),
  'router-id': z.string(),
  scaling: z.looseObject({}).meta({ description: 'The last scaling decision with its reason.' }),
  'service-description-overrides': z
    .strictObject({ overrides: overridesSchema, 'last-updated-by': z.string(), time: z.string() })
    .optional(),
  'service-suspended-state': z
    .strictObject({ suspended: z.boolean(), 'last-updated-by': z.string(), time: z.string() })
    .optional(),
})

/** `DELETE /apps/:id`. */
export const deletionSchema: z.ZodType = z.strictObject({
  message: z.string(),
  result: z.enum(['deleted', 'no-such-service-exists']),
  'routers-agree': z.boolean().optional(),
  'service-id': z.string(),
  success: z.boolean(),
})
