/** A path (and query) as the wire gave it, in a form that headers and pages can carry. */
export function encodeTarget(target: string): string {
  // One character is one octet here, whatever its encoding was.
  return target.replaceAll(
    /[^\x21-\x7e]/g,
    octet => `%${octet.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  )
}

/**
 * A path below this host: browsers read `//host/` and `/\host` as another one.
 *
 * @param path begins with `/`, or is empty
 */
export function localPath(path: string): string {
  return encodeTarget(`/${path.replace(/^[/\\]+/, '')}`)
}

/** Path and query of a request. */
export function targetOf(path: string, query: string | null): string {
  return query === null ? path : `${path}?${query}`
}
