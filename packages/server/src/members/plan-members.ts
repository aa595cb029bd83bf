import type { MembersFile } from './members-file.ts'

/** What a first start founds. */
export interface Founding {
  readonly group: string
  readonly term: number
  readonly hasFirstState: boolean
}

/** Which members are to run. */
export interface MembersPlan {
  /** To be written before any of them starts. */
  readonly file: MembersFile
  /** Who is to belong to the group in the end. The leader sees to it. */
  readonly wanted: readonly number[]
}

/** Too many members have lost what they promised: the others cannot decide anything. */
export interface MembersLost {
  readonly lost: readonly number[]
}

/** How many control nodes `nodes` nodes have: what keeps its majority longest. More would only make writes slower. */
export function countControlNodes(nodes: number): number {
  return nodes >= 5 ? 5 : nodes >= 3 ? 3 : 1
}

/**
 * Decides which members there are.
 *
 * - No file: the nodes found the group.
 * - A node without a member gets one with a new id; the leader lets it join.
 * - A member whose node is not wanted any more runs until the leader has let it go.
 * - A member whose directory is gone is replaced under a new id: under the old one it could break its promises.
 */
export function planMembers(
  stored: MembersFile | undefined,
  nodes: readonly string[],
  facts: { readonly founding: () => Founding; readonly hasDirectory: (id: number) => boolean },
): MembersPlan | MembersLost {
  if (stored === undefined) return found(nodes, facts.founding())
  const lost = stored.members.filter(({ id, 'has-started': hasStarted }) => hasStarted && !facts.hasDirectory(id))
  const present = stored.members.filter(member => !lost.includes(member))
  const started = stored.members.filter(member => member['has-started']).length
  if (lost.length > 0 && (started - lost.length) * 2 <= started) return { lost: lost.map(({ id }) => id) }
  const members = [...present]
  let nextId = stored['next-id']
  for (const node of nodes) {
    if (members.some(member => member.node === node)) continue
    members.push({ id: nextId++, node, 'has-started': false })
  }
  return {
    file: { ...stored, 'next-id': nextId, members },
    wanted: members.filter(({ node }) => nodes.includes(node)).map(({ id }) => id),
  }
}

function found(nodes: readonly string[], { group, term, hasFirstState }: Founding): MembersPlan {
  const members = nodes.map((node, index) => ({ id: index + 1, node, 'has-started': false }))
  const ids = members.map(({ id }) => id)
  return {
    file: {
      format: 1,
      group,
      'first-members': ids,
      'first-term': term,
      'has-first-state': hasFirstState,
      'next-id': ids.length + 1,
      members,
    },
    wanted: ids,
  }
}
