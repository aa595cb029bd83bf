/** A host and a port of it. */
export interface HostAndPort {
  readonly host: string
  readonly port: number
}

const WITH_PORT = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/
const PORT_MAX = 65_535

/** `host:port`; IPv6 in brackets. */
export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Reads what `formatAddress` writes; undefined for anything else. */
export function parseAddress(text: string): HostAndPort | undefined {
  const [, bracketed, plain, port] = WITH_PORT.exec(text) ?? []
  const host = bracketed ?? plain
  return host === undefined || Number(port) > PORT_MAX ? undefined : { host, port: Number(port) }
}
