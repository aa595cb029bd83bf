import { readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { cliError } from '../errors.ts'
import type { Io } from '../io.ts'
import type { CliConfig, Cluster, Credentials, HttpSettings } from './cluster.ts'
import { parseClusterUrl } from './cluster-url.ts'
import type { AuthSection, ConfigFile } from './config-schema.ts'

const FILE_NAME = '.waiter.json'
const CONFIG_BYTES_MAX = 1024 * 1024
const MS_PER_S = 1000
/** Bits of a file's mode that let others read it. */
const OTHERS_MAY_READ = 0o044

const HTTP_DEFAULTS: HttpSettings = { retries: 2, connectTimeoutMs: 3_050, readTimeoutMs: 20_000 }

/** Where `npm start` and `waiter up` listen. */
const LOCAL: Cluster = {
  name: 'local',
  url: 'http://127.0.0.1:9091',
  credentials: undefined,
  isDefaultForCreate: false,
}

/**
 * Reads `--config FILE`, else `./.waiter.json`, else `~/.waiter.json`; without any of them, the Waiter of this machine.
 *
 * @throws WaiterError naming file and key; it never repeats a value, which may be a password
 */
export async function loadConfig(
  wanted: string | undefined,
  io: Pick<Io, 'workingDirectory' | 'homeDirectory' | 'err'>,
): Promise<CliConfig> {
  const candidates =
    wanted === undefined
      ? [join(io.workingDirectory, FILE_NAME), join(io.homeDirectory, FILE_NAME)]
      : [resolve(io.workingDirectory, wanted)]
  for (const file of candidates) {
    const content = readFile(file, wanted !== undefined)
    if (content !== undefined) return await parseConfig(file, content, io)
  }
  return { http: HTTP_DEFAULTS, clusters: [LOCAL], credentials: undefined, file: undefined }
}

function readFile(file: string, isRequired: boolean): string | undefined {
  try {
    if (statSync(file).size > CONFIG_BYTES_MAX) throw new Error(`it is larger than ${CONFIG_BYTES_MAX} bytes`)
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (!isRequired && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw cliError('config', `cannot read the configuration ${file}: ${(error as Error).message}`, error)
  }
}

async function parseConfig(file: string, content: string, io: Pick<Io, 'err'>): Promise<CliConfig> {
  const { configSchema } = await import('./config-schema.ts')
  const result = configSchema.safeParse(await parseJson(file, content))
  if (!result.success) {
    const { path, message } = result.error.issues[0] ?? { path: [], message: 'not a configuration' }
    throw cliError('config', `${file}: ${path.length === 0 ? '' : `${path.map(String).join('.')}: `}${message}`)
  }
  const config = result.data
  warnIfReadable(file, config, io)
  const credentials = toCredentials(config.http?.auth)
  return { http: toHttp(config.http), clusters: toClusters(file, config, credentials), credentials, file }
}

/** JSON.parse's own message would repeat a piece of the text. */
async function parseJson(file: string, content: string): Promise<unknown> {
  try {
    return JSON.parse(content)
  } catch {
    const { LineCounter, parseDocument } = await import('yaml')
    const lines = new LineCounter()
    const [problem] = parseDocument(content, { lineCounter: lines, prettyErrors: false, logLevel: 'silent' }).errors
    const place = problem === undefined ? file : `${file}:${lines.linePos(problem.pos[0]).line}`
    throw cliError('config', `${place}: not valid JSON (a comma too much, a quote or bracket too few?)`)
  }
}

function warnIfReadable(file: string, config: ConfigFile, io: Pick<Io, 'err'>): void {
  const clusters = [...(config['additional-clusters'] ?? []), ...(config.clusters ?? [])]
  const hasSecret = config.http?.auth !== undefined || clusters.some(cluster => cluster.auth !== undefined)
  if (hasSecret && (statSync(file).mode & OTHERS_MAY_READ) !== 0)
    io.err(`waiter: ${file} has a password and others may read it; chmod 600 ${file}`)
}

function toHttp(http: ConfigFile['http']): HttpSettings {
  const connect = http?.['connect-timeout']
  const read = http?.['read-timeout']
  return {
    retries: http?.retries ?? HTTP_DEFAULTS.retries,
    connectTimeoutMs: connect === undefined ? HTTP_DEFAULTS.connectTimeoutMs : connect * MS_PER_S,
    readTimeoutMs: read === undefined ? HTTP_DEFAULTS.readTimeoutMs : read * MS_PER_S,
  }
}

function toClusters(file: string, config: ConfigFile, shared: Credentials | undefined): readonly Cluster[] {
  if (config.clusters === undefined && config['additional-clusters'] === undefined)
    return [{ ...LOCAL, credentials: shared }]
  const all = [...(config['additional-clusters'] ?? []), ...(config.clusters ?? [])]
  const names = new Set<string>()
  const clusters = all
    .filter(cluster => cluster.disabled !== true)
    .map(({ name, url, auth, 'default-for-create': isDefault, 'sync-group': syncGroup }): Cluster => {
      if (names.has(name)) throw cliError('config', `${file}: two clusters are named ${name}`)
      names.add(name)
      const parsed = parseClusterUrl(url)
      if (!parsed.ok) throw cliError('config', `${file}: url of cluster ${name} ${parsed.error}`)
      return {
        name,
        url: parsed.value,
        credentials: toCredentials(auth) ?? shared,
        isDefaultForCreate: isDefault === true,
        syncGroup,
      }
    })
  if (clusters.length === 0)
    throw cliError('config', `You must specify at least one cluster. ${file} names none that is not disabled.`)
  return clusters
}

function toCredentials(auth: AuthSection | undefined): Credentials | undefined {
  if (auth === undefined) return undefined
  return auth.type === 'basic' ? { kind: 'basic', ...auth.basic } : { kind: 'bearer', ...auth.bearer }
}
