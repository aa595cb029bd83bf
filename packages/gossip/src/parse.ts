import type { Address, Claim, MemberId, MemberState } from './member.ts'

const ID = /^[\x21-\x7e]{1,128}$/
const ADDRESS = /^(?:\[[0-9A-Fa-f:.%\w]{2,64}\]|[\w.-]{1,253}):\d{1,5}$/
const PORT_MAX = 65_535
/** Leaves room above: a member can always raise its own. */
const INCARNATION_MAX = 2 ** 52

const LETTERS: Readonly<Record<MemberState, string>> = { alive: 'a', suspect: 's', dead: 'd', left: 'l' }
const STATES: ReadonlyMap<unknown, MemberState> = new Map(
  Object.entries(LETTERS).map(([state, letter]) => [letter, state as MemberState]),
)

/** Something that does not follow the format. The whole message is dropped (W2). */
export class MalformedMessage extends Error {
  override readonly name: string = 'MalformedMessage'
}

/** @throws {MalformedMessage} */
export function parseJsonList(text: string): readonly unknown[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new MalformedMessage('not JSON')
  }
  return parseList(value, 'message')
}

/** @throws {MalformedMessage} */
export function parseList(
  value: unknown,
  what: string,
  lengthMax: number = Number.POSITIVE_INFINITY,
): readonly unknown[] {
  if (!Array.isArray(value) || value.length > lengthMax) throw new MalformedMessage(`${what} is no list, or too long`)
  return value
}

/** @throws {MalformedMessage} */
export function parseId(value: unknown): MemberId {
  if (typeof value !== 'string' || !isMemberId(value)) throw new MalformedMessage('bad member id')
  return value
}

/** Whether a member can be named so. */
export function isMemberId(text: string): boolean {
  return ID.test(text)
}

/** Whether it is `host:port` with a port that one can send to. */
export function isAddress(text: string): boolean {
  const port = Number(text.slice(text.lastIndexOf(':') + 1))
  return ADDRESS.test(text) && port > 0 && port <= PORT_MAX
}

/** @throws {MalformedMessage} */
export function parseAddress(value: unknown): Address {
  if (typeof value !== 'string' || !isAddress(value)) throw new MalformedMessage('bad address')
  return value
}

/** @throws {MalformedMessage} */
export function parseCount(value: unknown, max: number = INCARNATION_MAX): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max) {
    throw new MalformedMessage('bad number')
  }
  return value
}

/** @throws {MalformedMessage} */
export function parseText(value: unknown, lengthMax: number): string {
  if (typeof value !== 'string' || value.length > lengthMax) throw new MalformedMessage('bad text')
  return value
}

/** @throws {MalformedMessage} */
export function parseClaims(value: unknown, countMax: number): Claim[] {
  return parseList(value, 'claims', countMax).map(item => {
    const [id, address, incarnation, letter, from] = parseList(item, 'claim', 5)
    const state = STATES.get(letter)
    if (state === undefined) throw new MalformedMessage('bad state')
    return {
      id: parseId(id),
      address: parseAddress(address),
      incarnation: parseCount(incarnation),
      state,
      from: parseId(from),
    }
  })
}

/** The form of a claim on the wire. */
export function claimToWire({ id, address, incarnation, state, from }: Claim): readonly unknown[] {
  return [id, address, incarnation, LETTERS[state], from]
}
