import { type Logger, WaiterError } from '@waiter/base'
import type { ClusterSpec } from './cluster.ts'
import { createHostContext, nameHost } from './host.ts'
import { joinGroup } from './members/join-group.ts'
import { KnownControls } from './members/known-controls.ts'
import { readMembersFile } from './members/members-file.ts'
import { type Members, membersFileOf, openMembers } from './members/open-members.ts'
import { countControlNodes, type Newcomer } from './members/plan-members.ts'
import { NODES_DEFAULT } from './options.ts'
import type { ChildContext, HostContext } from './process/messages.ts'

/** What this host is to run, and whom it knows. */
export interface OpenedHost {
  readonly host: HostContext
  readonly nodeIds: readonly string[]
  /** Those with a control process. */
  readonly controlIds: readonly string[]
  readonly known: KnownControls
  readonly members: Members
}

/** How this host calls control nodes before it has nodes of its own. */
export type ContextOf = (host: HostContext, nodeId: string) => ChildContext

/**
 * Finds out which cluster this host belongs to: the one that its directory knows, the one it is told to join, or a new one.
 *
 * @throws WaiterError when it may not join, or has left
 */
export async function openHostOf(spec: ClusterSpec, contextOf: ContextOf): Promise<OpenedHost> {
  const { options, settings, data, log } = spec
  const stored = readMembersFile(membersFileOf(data.paths))
  if (data.host.hasLeft && options.join.length === 0) throw hasLeft()
  const isJoining = options.join.length > 0 && (stored === undefined || data.host.hasLeft)
  const hasNodes = stored !== undefined && !data.host.hasLeft
  const { hostId, name, hasJoined } = nameHost(data.paths.host, options.name, { isJoining, hasNodes })
  const host = createHostContext(hostId, settings)
  const nodeIds = Array.from(
    { length: options.nodes ?? (hasJoined ? 1 : NODES_DEFAULT) },
    (_, index) => `${name}-${index + 1}`,
  )
  const controlIds = options.roles === 'router' ? [] : nodeIds.slice(0, countControlNodes(nodeIds.length))
  if (stored === undefined && !isJoining && controlIds.length === 0) throw nothingToFollow()
  const known = new KnownControls(data.paths.controls, log)
  const context = contextOf(host, nodeIds[0] ?? name)
  const ask = (patienceMs?: number) =>
    joinGroup({
      ...{ seeds: () => options.join, context, nodes: [], log },
      ...(patienceMs === undefined ? {} : { patienceMs }),
    })
  let group: string | undefined
  if (isJoining) {
    const answer = await ask()
    group = answer.group
    known.begin(answer.members)
  } else if (options.join.length > 0) group = await checkSeeds(ask, known, log)
  const hasOthers = known.others(hostId).length > 0
  const members = await openMembers({ data: data.paths, nodes: controlIds, group, hasOthers, log })
  return { host, nodeIds, controlIds, known, members }
}

/** A host that has been a member before does not depend on seeds; but what they say must fit. */
async function checkSeeds(
  ask: (patienceMs: number) => ReturnType<typeof joinGroup>,
  known: KnownControls,
  log: Logger,
): Promise<string | undefined> {
  try {
    const { group, members } = await ask(0)
    known.merge(members)
    return group
  } catch (error) {
    if (!(error instanceof WaiterError) || error.code !== 'WTR_SEED_UNREACHABLE') throw error
    log.info({ err: error }, 'none of the seeds answers; this host goes on with the control nodes that it knows')
    return undefined
  }
}

/** Lets the group give ids to nodes of this host that have none. */
export async function takeIn(
  newcomers: readonly Newcomer[],
  parts: { readonly seeds: () => readonly string[]; readonly context: ChildContext; readonly log: Logger },
): Promise<readonly { readonly id: number; readonly node: string }[]> {
  if (newcomers.length === 0) return []
  const { ids } = await joinGroup({ ...parts, nodes: newcomers })
  return newcomers.map(({ node }, index) => ({ id: ids[index] ?? 0, node }))
}

function hasLeft(): WaiterError {
  return new WaiterError(
    'this host has left its cluster: start it with --join HOST:PORT to belong to it again, or with another --data-dir',
    { code: 'WTR_LEFT' },
  )
}

function nothingToFollow(): WaiterError {
  return new WaiterError('--roles router follows control nodes elsewhere: say where with --join HOST:PORT', {
    code: 'WTR_USAGE',
  })
}
