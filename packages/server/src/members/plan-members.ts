import type { MembersFile, StoredMember } from './members-file.ts'

/** What a first start founds. */
export interface Founding {
  readonly group: string
  readonly term: number
  readonly hasFirstState: boolean
}

/** A node that has no member yet: the group gives it an id. */
export interface Newcomer {
  readonly node: string
  /** The member whose log is gone; 0: there was none. */
  readonly replaces: number
}

/** Which members are to run on this host. */
export interface MembersPlan {
  /** To be written before any of them starts. */
  readonly file: MembersFile
  readonly newcomers: readonly Newcomer[]
  /** Members whose nodes are not wanted any more: they run until the group has let them go. */
  readonly unwanted: readonly string[]
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
 * - A node without a member is a newcomer.
 * - A member whose node is not wanted any more runs until the leader has let it go.
 * - A member whose directory is gone is replaced under a new id: under the old one it could break its promises.
 */
export function planMembers(
  stored: MembersFile | undefined,
  nodes: readonly string[],
  facts: {
    readonly founding: () => Founding
    readonly hasDirectory: (id: number) => boolean
    /** Members on other hosts may have the majority. */
    readonly hasOthers: boolean
  },
): MembersPlan | MembersLost {
  if (stored === undefined) return { file: found(nodes, facts.founding()), newcomers: [], unwanted: [] }
  const lost = stored.members.filter(({ id, 'has-started': hasStarted }) => hasStarted && !facts.hasDirectory(id))
  const members = stored.members.filter(member => !lost.includes(member))
  const started = stored.members.filter(member => member['has-started']).length
  if (!facts.hasOthers && lost.length > 0 && (started - lost.length) * 2 <= started)
    return { lost: lost.map(({ id }) => id) }
  return {
    file: { ...stored, members },
    newcomers: nodes
      .filter(node => !members.some(member => member.node === node))
      .map(node => ({ node, replaces: lost.find(member => member.node === node)?.id ?? 0 })),
    unwanted: members.filter(({ node }) => !nodes.includes(node)).map(({ node }) => node),
  }
}

/** The file once the group has given a node its id. */
export function withMember(file: MembersFile, member: StoredMember): MembersFile {
  return { ...file, 'next-id': Math.max(file['next-id'], member.id + 1), members: [...file.members, member] }
}

function found(nodes: readonly string[], { group, term, hasFirstState }: Founding): MembersFile {
  const members = nodes.map((node, index) => ({ id: index + 1, node, 'has-started': false }))
  const ids = members.map(({ id }) => id)
  return {
    format: 1,
    group,
    'first-members': ids,
    'first-term': term,
    'has-first-state': hasFirstState,
    'next-id': ids.length + 1,
    members,
  }
}
