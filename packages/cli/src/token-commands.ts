import { type Command, Option } from 'commander'
import { type AddCommand, wholeNumber } from './add-command.ts'

const TIMEOUT_S = 300
const KILL_S = 10
const TIMEOUT_S_MAX = 3_600
/** Parameters that have flags of their own; all others are flags by their name. */
const SHORT_PARAMETERS: readonly (readonly [flags: string, meaning: string])[] = [
  ['-n, --name <name>', 'name of the service'],
  ['-o, --owner <user>', 'owner of the token'],
  ['-v, --version <text>', 'version of the service'],
  ['-C, --cmd <command>', 'the command'],
  ['-t, --cmd-type <type>', 'its kind'],
  ['-c, --cpus <number>', 'CPUs of an instance'],
  ['-m, --mem <MiB>', 'memory of an instance'],
  ['--ports <count>', 'how many ports an instance gets'],
]
const PARAMETER_KEYS = ['name', 'owner', 'version', 'cmd', 'cmdType', 'cpus', 'mem', 'ports'] as const
type ParameterOptions = Readonly<Partial<Record<(typeof PARAMETER_KEYS)[number], string>>>

/** Commands that write tokens by flags, and look after them (spec §10.2). */
export function addTokenCommands(add: AddCommand): void {
  for (const kind of ['create', 'update'] as const) {
    const meaning = kind === 'create' ? 'create a token, or replace it' : 'change what flags or a file name of a token'
    const command = add(`${kind} [token] [parameters...]`, meaning, async (context, token, rest, options) => {
      const { writeToken } = await import('./commands/write-token.ts')
      return await writeToken(context, kind, wordsOf(token, rest), { ...options, parameters: parametersOf(options) })
    })
    addParameters(command)
      .option('--json <file>', 'parameters from JSON; - is standard input')
      .option('--yaml <file>', 'parameters from YAML')
      .option('--input <file>', 'parameters from either')
      .option('--context <file>', 'values for $name in the file; also --context.NAME VALUE')
      .option('--override', 'flags win over the file')
      .option('--no-override', 'the file wins over flags')
      .option('--output <file>', 'write what would be sent to a file (- prints it) instead')
      // Neither: both at once is an error.
      .setOptionValue('override', undefined)
    if (process.env['WAITER_ADMIN'] !== undefined) command.option('-a, --admin', 'as an administrator')
  }
  const init = add('init [parameters...]', 'write a file to begin with', async (context, words, options) => {
    const { init } = await import('./commands/init.ts')
    return await init(context, words, { ...options, parameters: parametersOf(options) })
  })
  addParameters(init)
    .option('-F, --file <file>', 'where to', 'token.json')
    .option('-f, --force', 'also over a file that is there')
    .addOption(new Option('--json', 'as JSON').conflicts('yaml'))
    .addOption(new Option('--yaml', 'as YAML').conflicts('json'))
  addStart(add('start <token>', 'let a token serve again: maintenance stop', stopMaintenance))
  addStop(add('stop <token> <message>', 'take a token down: maintenance start', startMaintenance))
  addReady(add)
}

/** `waiter maintenance check|start|stop`. */
export function addMaintenance(add: AddCommand, parent: Command): void {
  const check = async (context: Parameters<Parameters<AddCommand>[2]>[0], token: string): Promise<number> => {
    const { checkMaintenance } = await import('./commands/maintenance.ts')
    return await checkMaintenance(context, token)
  }
  add('check <token>', 'exit code 0 while the token is down, else 1', check, parent)
  addStop(
    add('start <token> <message>', 'answer 503 with the message, and stop its services', startMaintenance, parent),
  )
  addStart(add('stop <token>', 'let the token serve again', stopMaintenance, parent))
}

const startMaintenance: Parameters<AddCommand>[2] = async (context, token, message, options) => {
  const { startMaintenance } = await import('./commands/maintenance.ts')
  return await startMaintenance(context, token, message, options)
}

const stopMaintenance: Parameters<AddCommand>[2] = async (context, token, options) => {
  const { stopMaintenance } = await import('./commands/maintenance.ts')
  return await stopMaintenance(context, token, options)
}

function addStop(command: Command): void {
  command
    .option('--force-kill', 'stop all its services (the default)')
    .option('--ask-kill', 'stop its service, unless there are several')
    .option('--no-kill', 'let its services run')
    .option('-t, --timeout <seconds>', 'how long routers may take to know', wholeNumber(1, TIMEOUT_S_MAX), KILL_S)
}

function addStart(command: Command): void {
  command
    .option('--no-ping', 'do not start its service')
    .option('-t, --timeout <seconds>', 'how long that may take', wholeNumber(1, TIMEOUT_S_MAX), TIMEOUT_S)
    .option('-n, --no-wait', 'do not wait until it runs')
    .option('--no-check', 'also when it is not down')
}

function addReady(add: AddCommand): void {
  const port = new Option('-p, --port <port>', 'where its host serves TLS')
    .argParser(wholeNumber(1, 65_535))
    .default(443)
  add(
    'ready <token>',
    'wait until a service answers, is the expected one, and has TLS',
    async (context, token, options) => {
      const { ready } = await import('./commands/ready.ts')
      return await ready(context, token, options)
    },
  )
    .option('--ping-timeout <seconds>', 'how long it may take to answer', wholeNumber(1, TIMEOUT_S_MAX), TIMEOUT_S)
    .option('--connect-timeout <seconds>', 'how long TLS may take', wholeNumber(1, TIMEOUT_S_MAX), TIMEOUT_S)
    .option('--image <image>', 'the image that is expected')
    .option('--version <version>', 'the version that is expected')
    .addOption(port)
  add('ensure-ssl <token>', 'can the host of a token be reached over TLS?', async (context, token, options) => {
    const { ensureSsl } = await import('./commands/ensure-ssl.ts')
    return await ensureSsl(context, token, options)
  })
    .option('-t, --timeout <seconds>', 'how long it may take', wholeNumber(1, TIMEOUT_S_MAX), KILL_S)
    .addOption(port)
}

/** Flags that are not known are parameters by their name. */
function addParameters(command: Command): Command {
  for (const [flags, meaning] of SHORT_PARAMETERS) command.option(flags, meaning)
  return command
    .allowUnknownOption()
    .addHelpText('after', '\nAny other parameter is a flag of its name: --health-check-url /status --env.COLOUR red')
}

function parametersOf(options: ParameterOptions): Record<string, string | undefined> {
  const { cmdType, ...others } = Object.fromEntries(PARAMETER_KEYS.map(key => [key, options[key]]))
  return { ...others, 'cmd-type': cmdType }
}

function wordsOf(token: string | undefined, rest: readonly string[]): readonly string[] {
  return token === undefined ? rest : [token, ...rest]
}
