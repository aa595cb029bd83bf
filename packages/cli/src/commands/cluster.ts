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
    const rows = answers.flatMap(({ api, value }) => toRows(value).map(row => [api.cluster.name, ...row]))
    context.io.out(renderTable(HEADINGS, rows))
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

/** `waiter cluster undrain NODE`: it serves again. */
export async function undrainNode(context: CommandContext, node: string): Promise<number> {
  const result = await onlyCluster(context).undrain(node)
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

const HEADINGS = 'Cluster Node Host Role Leader Heard Behind Drains Routers Instances Version Address'.split(' ')

/** Control nodes, then nodes that only route. What only the leader knows is `?` when another one has answered. */
function toRows(view: Json): readonly (readonly string[])[] {
  const isKnown = textOf(view, 'answered-by') === textOf(view, 'leader')
  const members = listOf(view, 'members')
  const routers = Map.groupBy(listOf(view, 'routers'), router => textOf(router, 'node'))
  const rest = [...routers.keys()].filter(node => !members.some(member => textOf(member, 'node') === node))
  const drainsOf = (node: string): string => {
    const own = routers.get(node) ?? []
    return !isKnown ? '?' : own.length > 0 && own.every(router => router['drains?'] === true) ? 'Yes' : 'No'
  }
  const countOf = (node: string): string => (isKnown ? String(routers.get(node)?.length ?? 0) : '?')
  const ofMembers = members.map(member => {
    const node = textOf(member, 'node')
    const host = listOf(view, 'hosts').find(one => textOf(one, 'host') === textOf(member, 'host'))
    const behind = Math.max(0, numberOf(view, 'commit-index') - numberOf(member, 'match-index'))
    return [
      ...[node, textOf(member, 'host'), member['leaving?'] === true ? 'leaving' : textOf(member, 'role')],
      ...[member['leader?'] === true ? 'Yes' : 'No', heardOf(member), isKnown ? String(behind) : '?'],
      ...[drainsOf(node), countOf(node), host === undefined ? '?' : instancesOf(host)],
      ...[textOf(member, 'release'), textOf(member, 'address')],
    ]
  })
  const ofRouters = rest.sort().map(node => {
    const url = textOf(routers.get(node)?.[0] ?? {}, 'url')
    return [node, '', 'router', 'No', 'now', '', drainsOf(node), countOf(node), '', '', url]
  })
  return [...ofMembers, ...ofRouters]
}

function heardOf(member: Json): string {
  if (member['active?'] === true) return 'now'
  const MS_PER_S = 1_000
  const silentS = Math.round(numberOf(member, 'silent-ms') / MS_PER_S)
  return silentS === 0 ? 'No' : `${silentS} s ago`
}

/** On all of the node's host; what a host that does not answer runs is what it ran. */
function instancesOf(host: Json): string {
  const count = String(numberOf(host, 'instances'))
  return textOf(host, 'contact') === 'up' ? count : `${count} (${textOf(host, 'contact')})`
}
