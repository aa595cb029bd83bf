import { existsSync, readFileSync } from 'node:fs'
import { WaiterError } from '@waiter/base'
import { z } from 'zod'
import { writeDurably } from '../write-durably.ts'

/** A member of the group of control nodes, for ever: an id is never given to another one. */
const member = z.strictObject({
  id: z.int().min(1),
  node: z.string().min(1).max(128),
  /** It has taken part: without its directory it must not come back under this id. */
  'has-started': z.boolean(),
})

const membersFile = z.strictObject({
  format: z.literal(1),
  /** Names the group; members of another one are refused. */
  group: z.string().regex(/^[0-9a-f]{32}$/),
  /** Who founded it, and in which term. Empty: another host founded it. */
  'first-members': z.array(z.int().min(1)),
  'first-term': z.int().min(1),
  /** What it began with is still needed: not every founder has it in its log. */
  'has-first-state': z.boolean(),
  /** No id from here on was ever given to a member, as far as is known here. */
  'next-id': z.int().min(1),
  /** Of this host. */
  members: z.array(member),
})

/** What a data directory knows of its control nodes. */
export type MembersFile = z.infer<typeof membersFile>
export type StoredMember = MembersFile['members'][number]

/**
 * Reads it; undefined: there is none yet.
 *
 * @throws WaiterError WTR_DATA_DIR when it is damaged
 */
export function readMembersFile(file: string): MembersFile | undefined {
  if (!existsSync(file)) return undefined
  try {
    return membersFile.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch (error) {
    throw new WaiterError(
      `${file} is damaged: restore it from a backup. It says which control nodes share the tokens; without it they ` +
        'must not be started.',
      { code: 'WTR_DATA_DIR', cause: error },
    )
  }
}

/** Whole or not at all. */
export function writeMembersFile(file: string, content: MembersFile): void {
  const MODE = 0o600
  writeDurably(file, `${JSON.stringify(membersFile.parse(content), undefined, 2)}\n`, MODE)
}
