import { WaiterError } from '@waiter/base'

const NAME_PATTERN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
// Code units above 0xff would be cut to their low byte on the wire and could turn into CR or LF.
const VALUE_PATTERN = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/

/** True for an RFC 9110 token. */
export function isValidHeaderName(name: string): boolean {
  return NAME_PATTERN.test(name)
}

/** True for a value that can stand in a head as it is: Latin-1, no CTL but tab, no blank at either end. */
export function isValidHeaderValue(value: string): boolean {
  return VALUE_PATTERN.test(value)
}

/**
 * One head line, `name: value\r\n`, for `extraRequestHead` and `extraResponseHead`.
 *
 * @throws {WaiterError} WTR_BAD_HEADER when name or value could break out of its line
 */
export function renderHeader(name: string, value: string): string {
  if (!isValidHeaderName(name)) throw badHeader(`header name ${JSON.stringify(name.slice(0, 80))} is not a token`, name)
  if (!isValidHeaderValue(value)) {
    throw badHeader(`header ${name} has a value with control, non-Latin-1 or surrounding blank characters`, name)
  }
  return `${name}: ${value}\r\n`
}

function badHeader(message: string, name: string): WaiterError {
  return new WaiterError(message, { code: 'WTR_BAD_HEADER', details: { name: name.slice(0, 80) } })
}
