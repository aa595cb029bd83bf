import { askAll, type CommandContext, type FormatOptions, formatOf, print } from '../context.ts'
import { cliError, EXIT } from '../errors.ts'
import { labelOf } from '../http/problems.ts'
import { type Json, listOf, numberOf, textOf, type WaiterApi } from '../http/waiter-api.ts'
import { printable } from '../output/printable.ts'
import { renderTable } from '../output/table.ts'

/** `waiter cluster members`: the control nodes, which keep tokens and elect the leader. */
export async function showMembers(context: CommandContext, options: FormatOptions): Promise<number> {
  const format = formatOf(options)
  const { answers, hasFailed } = await askAll(context, api => api.readMembers())
  if (format !== 'text') {
    const clusters = Object.fromEntries(answers.map(({ api, value }) => [api.cluster.name, value]))
    await print(context.io, { clusters }, format)
  } else {
    const headings = ['Cluster', 'Node', 'Host', 'Role', 'Leader', 'Active', 'Behind', 'Address']
    const rows = answers.flatMap(({ api, value }) =>
      listOf(value, 'members').map(member => [api.cluster.name, ...toRow(value, member)]),
    )
    context.io.out(renderTable(headings, rows))
    for (const { api, value } of answers)
      if (textOf(value, 'leader') === '')
        context.io.err(`waiter: nobody leads in ${labelOf(api.cluster)}: tokens cannot be changed, nothing is scaled`)
  }
  const isLed = answers.every(({ value }) => textOf(value, 'leader') !== '')
  return isLed && !hasFailed ? EXIT.ok : EXIT.failed
}

/** `waiter cluster transfer-leader NODE`: lets another control node lead, for example before its host is taken down. */
export async function transferLeader(context: CommandContext, node: string): Promise<number> {
  const api = onlyCluster(context)
  const leader = textOf(await api.transferLeader(node), 'leader')
  context.io.out(printable(`${leader} leads in ${labelOf(api.cluster)}.`))
  return EXIT.ok
}

/** `waiter cluster drain NODE`: its routers finish what runs and are left out, until their processes end. */
export async function drainNode(context: CommandContext, node: string): Promise<number> {
  const result = await onlyCluster(context).drain(node)
  context.io.out(printable(result))
  return EXIT.ok
}

/** While it is waited for. */
const LOOK_MS = 200

/** `waiter cluster leave NODE`: lets a control node go; waits until it is no member any more. */
export async function leaveCluster(
  context: CommandContext,
  node: string,
  { force = false, timeout }: { readonly force?: boolean; readonly timeout: number },
): Promise<number> {
  const api = onlyCluster(context)
  await api.leave(node, force)
  context.io.err(printable(`${node} is to leave ${labelOf(api.cluster)} …`))
  const giveUpAtMs = performance.now() + timeout * 1_000
  for (;;) {
    // The router that was asked may be one of its own, which end with it.
    const members = await api.readMembers().then(
      view => listOf(view, 'members'),
      () => undefined,
    )
    if (members !== undefined && !members.some(member => textOf(member, 'node') === node)) break
    if (performance.now() > giveUpAtMs)
      throw cliError(
        'notDone',
        `${node} is to leave, but is still a member after ${timeout} s: see waiter cluster members; it goes once another node ` +
          'has taken its place',
      )
    await new Promise(resolve => setTimeout(resolve, LOOK_MS))
  }
  context.io.out(printable(`${node} has left ${labelOf(api.cluster)}.`))
  return EXIT.ok
}

/** Commands that change a cluster as a whole are for one that is named. */
export function onlyCluster({ apis }: CommandContext): WaiterApi {
  const [api, ...others] = apis
  if (api !== undefined && others.length === 0) return api
  throw cliError('usage', 'say which cluster with --cluster NAME or --url URL')
}

/** How far a member is behind only the leader knows: others say nothing of it. */
function toRow(view: Json, member: Json): string[] {
  const leads = member['leader?'] === true
  const isKnown = textOf(view, 'answered-by') === textOf(view, 'leader')
  const behind = Math.max(0, numberOf(view, 'commit-index') - numberOf(member, 'match-index'))
  return [
    textOf(member, 'node'),
    textOf(member, 'host'),
    textOf(member, 'role'),
    leads ? 'Yes' : 'No',
    member['active?'] === true ? 'Yes' : 'No',
    isKnown ? String(behind) : '?',
    textOf(member, 'address'),
  ]
}
