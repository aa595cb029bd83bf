import { readFileSync } from 'node:fs'

/** The numbers of a user and its first group. */
export interface UserIdentity {
  readonly uid: number
  readonly gid: number
}

/**
 * Finds the identity that a service must be started with; null means: as Waiter itself runs.
 *
 * Only root can become somebody else. When Waiter is not root, or the user is not known to this machine, the service
 * runs as Waiter does: on a laptop `run-as-user` is a label, not an account.
 */
export function findUserIdentity(user: string): UserIdentity | null {
  if (process.getuid?.() !== 0 || user === 'root') return null
  return findInPasswd(readPasswd(), user)
}

/** Looks a name up in the text of a passwd file. */
export function findInPasswd(passwd: string, user: string): UserIdentity | null {
  for (const line of passwd.split('\n')) {
    const [name, , uid, gid] = line.split(':')
    if (name !== user || uid === undefined || gid === undefined) continue
    const identity = { uid: Number(uid), gid: Number(gid) }
    return Number.isSafeInteger(identity.uid) && Number.isSafeInteger(identity.gid) ? identity : null
  }
  return null
}

function readPasswd(): string {
  try {
    return readFileSync('/etc/passwd', 'utf8')
  } catch {
    return '' // a container without accounts
  }
}
