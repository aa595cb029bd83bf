import { findAddressProblem, MESSAGE_KEYS, SUPPORT_FIELDS } from '@waiter/router/settings'
import { z } from 'zod'
import { identityProvider } from './identity-provider-schema.ts'

const ms = (fallback: number, meaning: string) => z.int().min(0).default(fallback).describe(meaning)
const positive = (fallback: number, meaning: string) => z.int().min(1).default(fallback).describe(meaning)
const userName = z.string().min(1).max(256)

const TOKEN_DEFAULT_KEYS = [
  ...(['fallback-period-secs', 'https-redirect', 'service-mapping', 'stale-timeout-mins'] as const),
  'withdraw-bad-versions',
] as const
const HEADERS_LOGGED_MAX = 32
const headerName = z.string().regex(/^[A-Za-z0-9-]{1,64}$/, 'a header name: letters, digits and dashes, at most 64')

/** A pair `[from, to]` of ports, both included. */
const portRange = z
  .tuple([z.int().min(1024).max(65_535), z.int().min(1024).max(65_535)])
  .refine(([from, to]) => from <= to, 'the first port must not be above the last')

/** Addresses and networks. */
const addresses = z
  .array(z.string().max(64))
  .max(1_024)
  .superRefine((entries, context) => {
    const problem = findAddressProblem(entries)
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem })
  })
  .default([])

/** A map of keys: all of them may be left out. */
const section = <Shape extends z.core.$ZodShape>(meaning: string, shape: Shape) =>
  z
    .strictObject(shape)
    .prefault({} as never)
    .describe(meaning)

const nodeAddress = z.string().regex(/^[A-Za-z0-9.:_-]{1,253}$/, 'an IP address or a name, without a port')

const cluster = section('Which cluster this is.', {
  name: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, 'letters, digits, dot, dash and underscore, at most 64')
    .default('waiter')
    .describe('Name of the cluster: `root` of tokens created here, `WAITER_CLUSTER` of instances.'),
  'service-prefix': z
    .string()
    .regex(/^[a-z0-9-]{1,64}$/, 'lower-case letters, digits and dashes')
    .default('waiter-service-')
    .describe('What every service id begins with.'),
  advertise: nodeAddress
    .default('127.0.0.1')
    .describe('Address or name under which nodes of other hosts reach this one (`--advertise`). Default: none can.'),
  host: nodeAddress
    .optional()
    .describe(
      'Address to listen on for other nodes. Default: what is advertised; `0.0.0.0` when that is a name or behind NAT.',
    ),
  port: z
    .int()
    .min(0)
    .max(64_000)
    .optional()
    .describe(
      'First port for other nodes (`--cluster-port`): two for each control node from here on, from 20 further on two for each ' +
        'router process (TCP; of the second UDP, too). 0: any. Default: 9190 when other hosts can reach this one, else any.',
    ),
  'replace-voter-after-ms': ms(
    300_000,
    'When a voting control node has not been heard for so long and another one can vote instead, it does; the former learns once it is back. 0: only `waiter cluster leave --force` does that.',
  ),
  'node-tls': z
    .strictObject({
      'ca-file': z.string().min(1).describe('Certificate (PEM) of the authority that signs certificates of nodes.'),
      'cert-file': z.string().min(1).describe('Certificate (PEM) of this node.'),
      'key-file': z.string().min(1).describe('Its key (PEM).'),
      'server-name': z
        .string()
        .min(1)
        .max(253)
        .optional()
        .describe('Name in the certificates of nodes, when it is not the address by which they are reached.'),
    })
    .optional()
    .describe('Mutual TLS between nodes, beside their proofs. Default: in the clear.'),
})

const authenticator = section('Who a request comes from (docs/security.md).', {
  kind: z
    .enum(['one-user', 'api-keys', 'trusted-header', 'jwt'])
    .default('one-user')
    .describe(
      'How users are told apart: not at all, by keys that they hold, by a proxy in front of Waiter, or only as `jwt` says.',
    ),
  'one-user': section('Everybody is the same user.', {
    'run-as-user': userName.optional().describe('That user. Default: the one who started Waiter.'),
  }),
  'api-keys': section('Users present a random key, as `Bearer KEY` or as password of `Basic`.', {
    keys: z
      .array(
        z.strictObject({
          user: userName,
          sha256: z
            .string()
            .regex(/^[0-9a-f]{64}$/, 'the SHA-256 of the key: 64 hexadecimal digits in lower case')
            .meta({ secret: true }),
        }),
      )
      .max(10_000)
      .default([])
      .describe('`{user, sha256}`: who, and the SHA-256 of the key in hex. One user may have several.'),
  }),
  'trusted-header': section('A proxy in front of Waiter has authenticated the user and names him in a header.', {
    header: headerName.default('x-forwarded-user').describe('That header. It never reaches instances.'),
    addresses: addresses.describe('Addresses and networks of the proxies that may set it; nobody else is believed.'),
  }),
  jwt: identityProvider.optional(),
  cookie: section('The login cookie `x-waiter-auth`, for browsers.', {
    'max-age-secs': z.int().min(1).max(31_536_000).default(86_400).describe('How long a login lasts.'),
    'same-site': z
      .enum(['lax', 'strict', 'none'])
      .default('lax')
      .describe('Whether pages of other sites may send it. `none` makes browsers accept it over https only.'),
  }),
})

const cors = section('Requests of web pages of other origins.', {
  kind: z
    .enum(['patterns', 'allow-all', 'deny-all', 'token-parameter'])
    .default('patterns')
    .describe('Who decides: the list below, nobody, nobody either, or the token with its `cors-rules`.'),
  patterns: section('The same origin, and these.', {
    'allowed-origins': z
      .array(z.string().min(1).max(1_024))
      .max(256)
      .default([])
      .describe('Patterns that an origin matches as a whole; such pages may use the API, too.'),
  }),
  'exposed-headers': z
    .array(headerName)
    .max(64)
    .default(['etag', 'x-cid'])
    .describe('Headers of API answers that pages may read.'),
  'max-age': z.int().min(0).max(86_400).default(3_600).describe('Seconds for which browsers remember a preflight.'),
})

const passwords = section('Secrets of the cluster: cookies and proofs of nodes are made with them.', {
  kind: z.literal('configured').default('configured').describe('They are in the configuration.'),
  configured: section('These.', {
    passwords: z
      .array(z.string().min(16).max(1_024))
      .max(16)
      .default([])
      .describe('The first makes, all are accepted. Empty: the file `cluster-secret` of the data directory.')
      .meta({ secret: true }),
  }),
})

const requests = section('How requests are served. A token may set its own time-outs.', {
  'client-connection-idle-timeout-ms': positive(60_000, 'A client connection without a request is closed after this.'),
  'connection-timeout-ms': positive(5_000, 'Longest wait for a connection to an instance.'),
  'initial-socket-timeout-ms': positive(900_000, 'Longest wait for the first byte of an answer.'),
  'queue-timeout-ms': positive(300_000, 'Longest wait for an instance with a free slot.'),
  'streaming-timeout-ms': positive(20_000, 'Longest silence while a body is sent, either way.'),
  'unsupported-headers': z
    .array(z.string())
    .default(['x-waiter-maintenance'])
    .describe('Requests with one of these headers are answered 400.'),
})

const certificate = z.strictObject({
  cert: z.string().min(1),
  key: z.string().min(1),
  names: z
    .array(z.string().regex(/^(?:\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/i, 'a host name, or `*.` and one'))
    .min(1)
    .max(1_000)
    .optional(),
})

const CERTIFICATES_MAX = 1_000

const backendTls = z
  .strictObject({
    verify: z
      .boolean()
      .default(false)
      .describe('Check their certificates. Off by default: local processes make theirs themselves.'),
    ca: z.string().min(1).optional().describe('PEM file of the authorities to trust; default: those of the system.'),
    'server-name': z.string().min(1).optional().describe('Name that the certificates must be for; default: the host.'),
    cert: z.string().min(1).optional().describe('PEM file of a certificate of our own, for those that ask for one.'),
    key: z.string().min(1).optional().describe('PEM file of its key.'),
  })
  .refine(({ cert, key }) => (cert === undefined) === (key === undefined), {
    path: ['cert'],
    message: 'cert and key go together',
  })
  .prefault({})
  .describe('TLS with instances whose `backend-proto` is `https` or `h2`.')

const server = z
  .strictObject({
    'ssl-port': z
      .int()
      .min(0)
      .max(65_535)
      .optional()
      .describe('Port for HTTPS of the first router; others take the next ones. 0: any that is free. Absent: none.'),
    certificates: z
      .array(certificate)
      .max(CERTIFICATES_MAX)
      .default([])
      .describe(
        'PEM files `{cert, key, names}`: certificate with its chain, key, and the host names (default: those in the ' +
          'certificate). The first is also for every other name. Files that change are read again.',
      ),
    'ssl-min-version': z.enum(['TLSv1.2', 'TLSv1.3']).default('TLSv1.2').describe('Oldest version that is spoken.'),
    'handshake-timeout-ms': positive(10_000, 'Longest TLS handshake.'),
    'handshakes-max': positive(
      512,
      'TLS handshakes at once of a router; with more the oldest unfinished one is dropped.',
    ),
    'certificate-check-interval-ms': positive(2_000, 'How often certificate files are looked at.'),
    'backend-tls': backendTls,
  })
  .refine(({ 'ssl-port': port, certificates }) => port === undefined || certificates.length > 0, {
    path: ['ssl-port'],
    message: 'needs at least one of server-options.certificates',
  })
  .prefault({})
  .describe('HTTPS.')

const gossip = section('What routers tell each other without the leader: who is there, and what each of them sees.', {
  enabled: z.boolean().default(true).describe('Whether they do. Without it they serve as well, and learn it later.'),
  'probe-interval-ms': positive(1_000, 'Each router asks another one in turn so often whether it is there.'),
  'probe-timeout-ms': positive(400, 'After this others are asked to ask it, too.'),
  'suspicion-multiplier': positive(3, 'Who does not answer is dead after at least so many probe intervals.'),
  'row-interval-ms': positive(250, 'News of one router travels to the others at most so often.'),
  'full-exchange-interval-ms': positive(30_000, 'Each router compares all it knows with another one so often.'),
  'load-interval-ms': positive(1_000, 'Routers tell so often how many requests they have, if that has changed.'),
  'load-services-max': z.int().min(0).max(1_000).default(256).describe('Of so many services, the busiest ones.'),
  'share-ejections': z
    .boolean()
    .default(true)
    .describe('Tell others which instances fail here, and prefer other instances to those that fail elsewhere.'),
})

const scaling = section('When and how far services are scaled.', {
  'decision-floor-ms': positive(100, 'How soon after a change the next decision for the same service may come.'),
  'autoscaler-interval-ms': positive(1_000, 'How often a service is looked at while its target still moves.'),
  'quanta-constraints': section('How much may be started at once, as a sum over instances not yet running.', {
    cpus: positive(64, 'CPUs.'),
    mem: positive(524_288, 'MiB of memory.'),
  }),
  'router-dead-after-ms': positive(
    10_000,
    'After this long without a word a router no longer counts; six times as long if other routers hear it by gossip.',
  ),
  'drain-timeout-ms': positive(3_600_000, 'How long a removed instance may finish its requests before it is stopped.'),
})

const scheduler = section('What runs the instances.', {
  kind: z.literal('process').default('process').describe('Processes of this machine.'),
  process: section('Instances as processes of this machine.', {
    'port-range': portRange.default([10_000, 10_999]).describe('First and last port that instances may get.'),
    'port-grace-period-ms': ms(120_000, 'How long a port rests after its instance before another gets it.'),
    'memory-check-interval-ms': positive(
      1_000,
      'How often the memory of instances is looked at; with hundreds of processes it becomes rarer, up to every 30 s.',
    ),
    'log-bytes-max': positive(16 * 1024 * 1024, 'What is kept of an instance’s stdout, and of its stderr.'),
  }),
  hosts: section('Several hosts that run instances (docs/operations.md, Where instances run).', {
    'lost-after-ms': positive(
      2_000,
      'A host that is silent for so long is lost: what it runs stays in use, untouched.',
    ),
    'given-up-after-ms': positive(10_000, 'After so long what it runs does not count any more: others are started.'),
    'move-timeout-ms': ms(
      30_000,
      'A host that stops in order, or leaves, waits at most so long until what it runs has been started on others. 0: not at all.',
    ),
  }),
})

const supportEntry = z.strictObject({
  label: z.string(),
  link: z.strictObject({ type: z.string(), value: z.string() }),
  variables: z.record(z.string().regex(/^[\w-]{1,64}$/), z.enum(SUPPORT_FIELDS)).optional(),
  'error-classes': z.array(z.string().max(64)).max(64).optional(),
})

const requestLog = section('One JSON line for every request.', {
  enabled: z.boolean().default(true).describe('Whether there is one.'),
  directory: z.string().min(1).optional().describe('Where the files are. Default: `logs` in the data directory.'),
  'file-bytes-max': z
    .int()
    .min(1024 * 1024)
    .default(128 * 1024 * 1024)
    .describe('A file that would grow beyond this is put aside.'),
  'files-max': z.int().min(1).max(1_000).default(4).describe('Files of one router, the present one included.'),
  'request-headers': z
    .array(headerName)
    .max(HEADERS_LOGGED_MAX)
    .default([])
    .describe('Request headers to log beside the usual fields; credentials never are.'),
  'response-headers': z.array(headerName).max(HEADERS_LOGGED_MAX).default([]).describe('The same of responses.'),
  'omitted-fields': z.array(z.string()).default([]).describe('Fields to leave out.'),
})

/**
 * The configuration (spec §12), under the original's names where the meaning is the same. Unknown keys are refused, so
 * that a misspelt one cannot be silently without effect. Every key has a description: `npm run gen:docs` makes
 * docs/configuration.md of them. `.meta({ secret: true })` hides a value in `/settings`.
 */
export const settingsSchema = z.strictObject({
  host: z
    .string()
    .min(1)
    .default('127.0.0.1')
    .describe('Address to listen on; `0.0.0.0` lets others in: whoever reaches a router may start commands on it.'),
  hostname: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .default('localhost')
    .describe('Names under which the API itself is reached; every other `Host` is looked up as a token.'),
  port: z
    .int()
    .min(0)
    .max(65_535)
    .default(9091)
    .describe('Port of the first router; further routers of this machine take the next ones. 0: any that is free.'),
  workers: z
    .union([z.int().min(1).max(64), z.literal('auto')])
    .default('auto')
    .describe(
      'Router processes of each node, on one port. `auto`: one per core, at most 8, shared out among nodes of one machine.',
    ),
  'cluster-config': cluster,
  'router-id-prefix': z.string().max(64).default('').describe('What ids of routers begin with.'),
  'authenticator-config': authenticator,
  'entitlement-config': section('Who may do what.', {
    kind: z.literal('simple').default('simple').describe('Everybody manages what is his own, administrators all.'),
    simple: section('Who is an administrator.', {
      administrators: z
        .array(userName)
        .max(1_024)
        .default([])
        .describe('Beside the user who started Waiter, and the one user of `one-user`.'),
    }),
  }),
  'consent-expiry-days': z
    .int()
    .min(1)
    .max(3_650)
    .default(90)
    .describe('How long it lasts that a user agreed to run a service as himself.'),
  'password-store-config': passwords,
  'cors-config': cors,
  'trusted-proxies': addresses.describe(
    'Addresses and networks of proxies in front of Waiter whose `x-forwarded-proto` is believed.',
  ),
  'server-options': server,
  'websocket-config': section('WebSockets.', {
    'max-age-ms': positive(86_400_000, 'After this a WebSocket is closed with code 1001; its client may open another.'),
  }),
  'instance-request-properties': requests,
  'deployment-error-config': section('When a service counts as unable to start.', {
    'min-failed-instances': positive(2, 'So many instances must have failed without one becoming healthy.'),
    'min-hosts': positive(1, 'On so many hosts.'),
  }),
  'ejection-config': section('How long an instance that fails gets no requests.', {
    'eject-backoff-base-time-ms': positive(10_000, 'After the first failure; doubled with each further one in a row.'),
    'expiry-threshold': positive(5, 'After so many failures in a row an instance is to be replaced.'),
    'max-eject-time-ms': positive(300_000, 'Longest ejection.'),
  }),
  'gossip-config': gossip,
  scaling,
  'scheduler-config': scheduler,
  'service-description-constraints': z
    .record(z.string(), z.strictObject({ max: z.number().positive() }))
    .default({ cmd: { max: 1200 }, cpus: { max: 32 }, mem: { max: 131_072 } })
    .describe('Upper limits per service parameter: of a number its value, of a text its length.'),
  'service-description-defaults': z
    .record(z.string(), z.unknown())
    .default({})
    .describe(
      'Service parameters that apply when neither token nor profile says otherwise; others keep their default.',
    ),
  'profile-config': z
    .record(z.string(), z.strictObject({ defaults: z.record(z.string(), z.unknown()) }))
    .default({})
    .describe('Named sets of defaults, chosen with the service parameter `profile`.'),
  'metric-group-mappings': z
    .array(z.tuple([z.string(), z.string()]))
    .default([])
    .describe(
      'Pairs of a pattern and a group: the first pattern that matches a service’s whole name gives its metric group.',
    ),
  'token-config': section('Tokens.', {
    'history-length': positive(5, 'How many former versions a token keeps.'),
    'limit-per-owner': positive(1_000, 'How many tokens one owner may have.'),
    'token-defaults': z
      .partialRecord(z.enum(TOKEN_DEFAULT_KEYS), z.unknown())
      .default({})
      .describe('What tokens say that say nothing (docs/services.md, Tokens).'),
    'exclusive-promotion-start-time': z.iso
      .datetime()
      .default('2050-01-01T00:00:00Z')
      .describe('Tokens with `service-mapping: default` that are written later own their services.'),
    'host->cluster': z
      .record(z.string().max(253), z.string().min(1).max(64))
      .default({})
      .describe(
        'Which cluster a token belongs to that is written through this host name; others: `cluster-config.name`.',
      ),
  }),
  messages: z
    .partialRecord(z.enum(MESSAGE_KEYS), z.string().min(1).max(1_024))
    .default({})
    .describe(`Sentences to say instead of Waiter’s own, by key: ${MESSAGE_KEYS.map(key => `\`${key}\``).join(', ')}.`),
  'support-info': z
    .array(supportEntry)
    .max(64)
    .default([])
    .describe(
      'Links at the foot of error pages: `{label, link: {type, value}}`. With `variables: {id: cid}` every `{id}` in the ' +
        `link is filled in with one of ${SUPPORT_FIELDS.map(field => `\`${field}\``).join(', ')}; with ` +
        '`error-classes: [waiter.QueueLength]` it is for such errors only.',
    ),
  log: section('Waiter’s own log.', {
    level: z.enum(['debug', 'info', 'warn', 'error']).default('info').describe('What is worth a line.'),
    'file-bytes-max': positive(32 * 1024 * 1024, 'A log file is put aside at this size; one older file is kept.'),
  }),
  'request-log': requestLog,
  'shutdown-notice-ms': ms(
    0,
    'From the first Ctrl-C for at least so long `/status` answers 503 and everything is served: longer than load balancers take to look elsewhere.',
  ),
  'shutdown-grace-ms': positive(5_000, 'From the first Ctrl-C until what still runs is cut.'),
})

/** The effective configuration: every key present. */
export type Settings = z.infer<typeof settingsSchema>
