import { z } from 'zod'

const ms = (fallback: number) => z.int().min(0).default(fallback)
const positive = (fallback: number) => z.int().min(1).default(fallback)
const userName = z.string().min(1).max(256)

/** A pair `[from, to]` of ports, both included. */
const portRange = z
  .tuple([z.int().min(1024).max(65_535), z.int().min(1024).max(65_535)])
  .refine(([from, to]) => from <= to, 'the first port must not be above the last')

/**
 * The configuration file (spec §12), under the original's names where the meaning is the same. Unknown keys are
 * refused, so that a misspelt one cannot be silently without effect.
 */
export const settingsSchema = z.strictObject({
  'cluster-config': z
    .strictObject({
      name: z
        .string()
        .regex(/^[A-Za-z0-9._-]{1,64}$/, 'letters, digits, dot, dash and underscore, at most 64')
        .default('waiter'),
      'service-prefix': z
        .string()
        .regex(/^[a-z0-9-]{1,64}$/, 'lower-case letters, digits and dashes')
        .default('waiter-service-'),
    })
    .prefault({}),
  /** Address to listen on. Loopback unless said otherwise: whoever reaches a router may start commands on it. */
  host: z.string().min(1).default('127.0.0.1'),
  /** Names under which the API itself is reached; every other Host is looked up as a token. */
  hostname: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]).default('localhost'),
  port: z.int().min(0).max(65_535).default(9091),
  'router-id-prefix': z.string().max(64).default(''),
  'authenticator-config': z
    .strictObject({
      kind: z.literal('one-user').default('one-user'),
      'one-user': z.strictObject({ 'run-as-user': userName.optional() }).prefault({}),
    })
    .prefault({}),
  'instance-request-properties': z
    .strictObject({
      'client-connection-idle-timeout-ms': positive(60_000),
      'connection-timeout-ms': positive(5_000),
      'initial-socket-timeout-ms': positive(900_000),
      'queue-timeout-ms': positive(300_000),
      'streaming-timeout-ms': positive(20_000),
      'unsupported-headers': z.array(z.string()).default(['x-waiter-maintenance']),
    })
    .prefault({}),
  'deployment-error-config': z
    .strictObject({ 'min-failed-instances': positive(2), 'min-hosts': positive(1) })
    .prefault({}),
  'ejection-config': z
    .strictObject({
      'eject-backoff-base-time-ms': positive(10_000),
      'expiry-threshold': positive(5),
      'max-eject-time-ms': positive(300_000),
    })
    .prefault({}),
  scaling: z
    .strictObject({
      /** How soon after a change the next decision for the same service may come. */
      'decision-floor-ms': positive(100),
      /** How often a service is looked at while its target still moves. */
      'autoscaler-interval-ms': positive(1_000),
      'quanta-constraints': z.strictObject({ cpus: positive(64), mem: positive(524_288) }).prefault({}),
      /** After this long without a word from a router it no longer holds back removals. */
      'router-dead-after-ms': positive(10_000),
      /** How long a removed instance may finish its requests before it is stopped all the same. */
      'drain-timeout-ms': positive(3_600_000),
    })
    .prefault({}),
  'scheduler-config': z
    .strictObject({
      kind: z.literal('process').default('process'),
      process: z
        .strictObject({
          'port-range': portRange.default([10_000, 10_999]),
          'port-grace-period-ms': ms(120_000),
          'memory-check-interval-ms': positive(1_000),
          'log-bytes-max': positive(16 * 1024 * 1024),
        })
        .prefault({}),
    })
    .prefault({}),
  'service-description-constraints': z
    .record(z.string(), z.strictObject({ max: z.number().positive() }))
    .default({ cmd: { max: 1200 }, cpus: { max: 32 }, mem: { max: 131_072 } }),
  'service-description-defaults': z.record(z.string(), z.unknown()).default({}),
  'profile-config': z.record(z.string(), z.strictObject({ defaults: z.record(z.string(), z.unknown()) })).default({}),
  'metric-group-mappings': z.array(z.tuple([z.string(), z.string()])).default([]),
  'token-config': z.strictObject({ 'history-length': positive(5), 'limit-per-owner': positive(1_000) }).prefault({}),
  'support-info': z
    .array(z.strictObject({ label: z.string(), link: z.strictObject({ type: z.string(), value: z.string() }) }))
    .default([]),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
      'file-bytes-max': positive(32 * 1024 * 1024),
    })
    .prefault({}),
  /** From the first Ctrl-C until what still runs is cut. */
  'shutdown-grace-ms': positive(5_000),
})

/** The effective configuration: every key present. */
export type Settings = z.infer<typeof settingsSchema>
