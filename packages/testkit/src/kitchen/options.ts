/** Everything that can be set on the kitchen's command line (or by the test that makes one in its own process). */
export interface KitchenOptions {
  /** 0 lets the system choose. */
  readonly port: number
  /** Undefined listens on all interfaces, IPv6 and IPv4. */
  readonly hostname: string | undefined
  /** `stdout`, `stderr`, or a file's path: one line per request. Undefined: only the line that says where we listen. */
  readonly logOutput: string | undefined
  /** TLS with the files named by CERT_PATH and KEY_PATH (and KEY_PASSWORD). */
  readonly ssl: boolean
  /** TLS with a certificate made on the spot by the `openssl` command. */
  readonly sslSelfSigned: boolean
  /** HTTP/2: without TLS by prior knowledge, with TLS by ALPN (HTTP/1.1 stays on offer there). */
  readonly http2: boolean
  readonly startUpSleepMs: number
  /** Lets `x-kitchen-default-status-value` change what later requests are answered. */
  readonly enableStatusChange: boolean
  /** Asks for the password on `/status` too. */
  readonly enableHealthCheckAuthentication: boolean
  readonly wsMaxBinaryMessageSize: number
  readonly wsMaxTextMessageSize: number
  /** Off: one request per connection, as the tests of connection handling expect. */
  readonly keepAlive: boolean
  /** How much `/oom-instability` takes. */
  readonly oomBytes: number
}

const WS_MESSAGE_BYTES_MAX = 2 ** 27
const OOM_BYTES = 2 ** 30

export const kitchenDefaults: KitchenOptions = {
  port: 8080,
  hostname: undefined,
  logOutput: undefined,
  ssl: false,
  sslSelfSigned: false,
  http2: false,
  startUpSleepMs: 0,
  enableStatusChange: false,
  enableHealthCheckAuthentication: false,
  wsMaxBinaryMessageSize: WS_MESSAGE_BYTES_MAX,
  wsMaxTextMessageSize: WS_MESSAGE_BYTES_MAX,
  keepAlive: false,
  oomBytes: OOM_BYTES,
}

/**
 * Reads the command line. Flags are the options' names in kebab-case (`--start-up-sleep-ms 100` or
 * `--start-up-sleep-ms=100`), plus `-p` for `--port`.
 *
 * @throws {Error} naming the flag that is unknown, lacks its value, or needs a whole number
 */
export function parseKitchenFlags(argv: readonly string[]): KitchenOptions {
  const values: Record<string, string | number | boolean | undefined> = { ...kitchenDefaults }
  const rest = argv.flatMap(word => (word.startsWith('--') ? splitOnce(word) : [word]))
  while (rest.length > 0) {
    const flag = rest.shift() as string
    const name = flag === '-p' ? 'port' : toCamelCase(flag)
    const byDefault = values[name]
    if (!Object.hasOwn(kitchenDefaults, name)) throw new Error(`kitchen: unknown flag ${flag}`)
    if (typeof byDefault === 'boolean') {
      values[name] = true
      continue
    }
    const value = rest.shift()
    if (value === undefined || value === '') throw new Error(`kitchen: ${flag} needs a value`)
    values[name] = typeof byDefault === 'number' ? toWholeNumber(flag, value) : value
  }
  return values as unknown as KitchenOptions
}

function splitOnce(word: string): string[] {
  const at = word.indexOf('=')
  return at < 0 ? [word] : [word.slice(0, at), word.slice(at + 1)]
}

function toCamelCase(flag: string): string {
  return flag.replace(/^--/, '').replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

function toWholeNumber(flag: string, value: string): number {
  if (!/^\d{1,15}$/.test(value)) throw new Error(`kitchen: ${flag} needs a whole number, got "${value}"`)
  return Number(value)
}
