import { z } from 'zod'

const text = z.string().min(1).max(4_096)

const authSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('basic'),
    basic: z.strictObject({
      user: text.regex(/^[^:]*$/, 'must not contain a colon'),
      pass: z.string().max(4_096),
    }),
  }),
  z.strictObject({
    type: z.literal('bearer'),
    bearer: z.strictObject({ key: text.regex(/^[\x21-\x7e]*$/, 'not a key') }),
  }),
])

const clusterSchema = z.strictObject({
  name: text,
  url: text,
  disabled: z.boolean().optional(),
  'default-for-create': z.boolean().optional(),
  'sync-group': text.optional(),
  auth: authSchema.optional(),
})

/**
 * `.waiter.json`, the format of the original's command line (spec §10.1); `auth` of a cluster and `bearer` are new.
 * `metrics` and the names of plug-ins are let through, so that an old file works, and mean nothing here.
 */
export const configSchema = z.strictObject({
  http: z
    .strictObject({
      retries: z.int().min(0).max(10).optional(),
      'connect-timeout': z.number().positive().max(300).optional(),
      'read-timeout': z.number().positive().max(3_600).optional(),
      auth: authSchema.optional(),
    })
    .optional(),
  clusters: z.array(clusterSchema).max(100).optional(),
  'additional-clusters': z.array(clusterSchema).max(100).optional(),
  metrics: z.looseObject({}).optional(),
  plugins: z.looseObject({}).optional(),
  'http-adapter-factory': z.unknown().optional(),
  'http-session-factory': z.unknown().optional(),
  'get-kubectl-cmd': z.unknown().optional(),
})

export type ConfigFile = z.infer<typeof configSchema>
export type AuthSection = z.infer<typeof authSchema>
