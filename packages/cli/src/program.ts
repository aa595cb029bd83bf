import { Command, CommanderError, Option } from 'commander'
import { type AddCommand, collect, wholeNumber, withFormats } from './add-command.ts'
import { createContext, type GlobalOptions } from './context.ts'
import { EXIT } from './errors.ts'
import { addInstanceCommands, addInstanceSignals } from './instance-commands.ts'
import type { Io } from './io.ts'
import { addSyncer } from './syncer-commands.ts'
import { addMaintenance, addTokenCommands } from './token-commands.ts'
import { VERSION } from './version.ts'

const TIMEOUT_S = 300
const KILL_S = 30
const LEAVE_S = 60
const TIMEOUT_S_MAX = 3_600
const LINES = 200
const LINES_MAX = 1_000_000
const GLOBALS_HEADING = 'Options of every command:'

/**
 * Reads the command line and does what it says. Global flags stand before the command, the long ones behind it as well:
 * the short ones mean other things to some commands.
 *
 * @returns the exit code
 * @throws WaiterError when it cannot be done
 */
export async function runProgram(args: readonly string[], io: Io): Promise<number> {
  let exitCode: number = EXIT.ok
  const program = createProgram(io, code => {
    exitCode = code
  })
  try {
    await program.parseAsync([...args], { from: 'user' })
    return exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
    throw error
  }
}

function createProgram(io: Io, finish: (exitCode: number) => void): Command {
  const program = new Command('waiter')
    .description('Runs HTTP services when, and only when, there is traffic.')
    .version(VERSION, '--version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help of a command')
    .enablePositionalOptions()
    .showHelpAfterError('(waiter --help, or waiter COMMAND --help, says more)')
    .exitOverride()
    .configureOutput({
      writeOut: text => io.out(text.trimEnd()),
      writeErr: text => io.err(text.trimEnd()),
      outputError: (text, write) => write(text.replace(/^error: /, 'waiter: ')),
    })
    .addOption(new Option('-c, --cluster <name>', 'a cluster of the configuration'))
    .addOption(new Option('-u, --url <url>', 'the URL of a Waiter (default: http://127.0.0.1:9091)'))
    .addOption(new Option('-C, --config <file>', 'configuration (default: ./.waiter.json, else ~/.waiter.json)'))
    .addOption(new Option('-v, --verbose', 'say which requests are sent'))
  const add: AddCommand = (usage, description, run, parent = program) => {
    const command = parent.command(usage).description(description)
    command.action(async (...given: unknown[]) => {
      const options: GlobalOptions = command.optsWithGlobals()
      // Behind the command it counts more than before it.
      const context = await createContext(io, { ...options, ...command.opts<GlobalOptions>() })
      finish(await run(context, ...(given.slice(0, -1) as never[])))
    })
    return command
  }
  addApply(add)
  addReading(add)
  addDelete(add)
  addKill(add)
  addPing(add)
  addLogs(add)
  addTokenCommands(add)
  addInstanceCommands(add)
  const maintenance = program.command('maintenance').description('take a token down, and up again')
  addMaintenance(add, maintenance)
  const instance = program.command('instance').description('replace or stop one instance of a service')
  addInstanceSignals(add, instance)
  const syncer = addSyncer(program, add)
  for (const command of [...program.commands, ...maintenance.commands, ...instance.commands, ...syncer])
    addGlobals(command)
  addCluster(program, add)
  addUp(program)
  return program
}

function addGlobals(command: Command): void {
  for (const [flags, description] of [
    ['--cluster <name>', 'a cluster of the configuration'],
    ['--url <url>', 'the URL of a Waiter'],
    ['--config <file>', 'configuration'],
    ['--verbose', 'say which requests are sent'],
  ] as const)
    command.addOption(new Option(flags, description).helpGroup(GLOBALS_HEADING))
}

function addCluster(program: Command, add: AddCommand): void {
  const cluster = program
    .command('cluster')
    .description('hosts and their control nodes, for who runs a Waiter')
    .enablePositionalOptions()
  withFormats(
    add(
      'members',
      'who leads, who votes, who was heard, what drains, runs and is installed where',
      async (context, options) => {
        const { showMembers } = await import('./commands/cluster.ts')
        return await showMembers(context, options)
      },
      cluster,
    ),
  )
  add(
    'transfer-leader <node>',
    'let another control node lead',
    async (context, node) => {
      const { transferLeader } = await import('./commands/cluster.ts')
      return await transferLeader(context, node)
    },
    cluster,
  )
  add(
    'leave <node>',
    'let a control node go for good; its processes end by themselves',
    async (context, node, options) => {
      const { leaveCluster } = await import('./commands/cluster.ts')
      return await leaveCluster(context, node, options)
    },
    cluster,
  )
    .option('-f, --force', 'also when it is not heard of: its host never comes back')
    .option('-t, --timeout <seconds>', 'how long to wait until it is gone', wholeNumber(1, TIMEOUT_S_MAX), LEAVE_S)
  addDraining(cluster, add)
  add(
    'snapshot <file>',
    'write a checked copy of tokens, overrides and suspensions',
    async (context, file) => {
      const { takeSnapshot } = await import('./commands/snapshots.ts')
      return await takeSnapshot(context, file)
    },
    cluster,
  )
  add(
    'restore <file>',
    'put such a copy into an empty cluster',
    async (context, file, options) => {
      const { restoreSnapshot } = await import('./commands/snapshots.ts')
      return await restoreSnapshot(context, file, options)
    },
    cluster,
  ).option('-f, --force', 'in place of what the cluster has')
  for (const command of cluster.commands) addGlobals(command)
  cluster
    .command('join')
    .description('start a Waiter on this machine that joins a cluster: like waiter up --join')
    .usage('HOST:PORT [options]   (waiter up --help lists them)')
    .argument('<seed>', 'gRPC address of a control node')
    .argument('[options...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (seed: string, args: string[]) => {
      const { launch } = await import('@waiter/server')
      await launch(['--join', seed, ...args], { command: 'waiter up' })
    })
}

/** Taking a node out for a while, and back. */
function addDraining(cluster: Command, add: AddCommand): void {
  add(
    'drain <node>',
    'take a node out: load balancers are told, and what its host runs is moved once all its nodes drain',
    async (context, node) => {
      const { drainNode } = await import('./commands/cluster.ts')
      return await drainNode(context, node)
    },
    cluster,
  )
  add(
    'undrain <node>',
    'let a node that drains serve again',
    async (context, node) => {
      const { undrainNode } = await import('./commands/cluster.ts')
      return await undrainNode(context, node)
    },
    cluster,
  )
}

/** Everything behind `up` is the server's; its own option parser explains it. */
function addUp(program: Command): void {
  program
    .command('up')
    .description('start a Waiter on this machine, in the foreground')
    .usage('[options]   (waiter up --help lists them)')
    .argument('[options...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (args: string[]) => {
      const { launch } = await import('@waiter/server')
      await launch(args, { command: 'waiter up' })
    })
}

function addApply(add: AddCommand): void {
  withFormats(
    add('apply [token]', 'create or update tokens as files say', async (context, token, options) => {
      const { apply } = await import('./commands/apply.ts')
      return await apply(context, token, options)
    })
      .requiredOption('-f, --filename <file>', 'YAML or JSON; - is standard input; may be repeated', collect)
      .option('-n, --dry-run', 'only say what would change'),
  )
}

function addReading(add: AddCommand): void {
  withFormats(
    add('tokens', 'list tokens', async (context, options) => {
      const { listTokens } = await import('./commands/tokens.ts')
      return await listTokens(context, options)
    })
      .addOption(new Option('--user <name>', 'whose (default: yours)').conflicts('all'))
      .option('--all', "everybody's"),
  )
  withFormats(
    add('show <token>', 'show a token and its services', async (context, token, options) => {
      const { showToken } = await import('./commands/show.ts')
      return await showToken(context, token, options)
    }).option('--no-services', 'the token only'),
  )
}

function addDelete(add: AddCommand): void {
  withFormats(
    add('delete <token>', 'delete a token that no service uses', async (context, token, options) => {
      const { deleteToken } = await import('./commands/delete.ts')
      return await deleteToken(context, token, options)
    }).option('-f, --force', 'also while services use it'),
  )
}

function addKill(add: AddCommand): void {
  withFormats(
    add('kill <token-or-id>', 'stop a service; the next request starts it again', async (context, name, options) => {
      const { kill } = await import('./commands/kill.ts')
      return await kill(context, name, options)
    })
      .option('-f, --force', 'also when several services run for the token')
      .option('-s, --service-id', 'the name is the id of a service')
      .option('-t, --timeout <seconds>', 'how long routers may take to know', wholeNumber(1, TIMEOUT_S_MAX), KILL_S)
      .option('--ping', 'start it again afterwards')
      .option('--ping-timeout <seconds>', 'how long that may take', wholeNumber(1, TIMEOUT_S_MAX), TIMEOUT_S)
      .option('--no-ping-wait', 'do not wait until it runs again'),
  )
}

function addPing(add: AddCommand): void {
  withFormats(
    add('ping <token-or-id>', 'start a service and wait until it runs', async (context, name, options) => {
      const { ping } = await import('./commands/ping.ts')
      return await ping(context, name, options)
    })
      .option('-t, --timeout <seconds>', 'how long to wait', wholeNumber(1, TIMEOUT_S_MAX), TIMEOUT_S)
      .option('-s, --service-id', 'the name is the id of a service')
      .option('-n, --no-wait', 'do not wait until it runs'),
  )
}

function addLogs(add: AddCommand): void {
  add('logs <token-or-id>', 'show what an instance of a service writes', async (context, name, options) => {
    const { showLogs } = await import('./commands/logs.ts')
    return await showLogs(context, name, options)
  })
    .option('-s, --service-id', 'the name is the id of a service')
    .option('-i, --instance <id>', 'which instance (default: the newest healthy one, else the one that ended last)')
    .option('--file <name>', 'a file of its working directory; may be repeated (default: stdout, stderr)', collect)
    .option('-n, --lines <count>', 'how many of the last lines', wholeNumber(0, LINES_MAX), LINES)
    .option('--follow', 'go on with what comes, until the instance has ended')
}
