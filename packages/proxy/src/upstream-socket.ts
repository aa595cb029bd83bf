import { connect, isIP, type OnReadOpts, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'

/** How TLS toward backends is done. */
export interface UpstreamTls {
  /**
   * Checks the backend's certificate. Off by default: instances run beside the router that starts them and make their
   * certificates themselves, so there is no name and no authority to check against.
   */
  readonly verify?: boolean
  /** Authorities to trust, in PEM; with `verify` only. The system's by default. */
  readonly ca?: string | Buffer
  /** The name that the certificate must be for; the host connected to by default. */
  readonly servername?: string
  /** A certificate of our own, in PEM, for backends that ask for one. */
  readonly cert?: string | Buffer
  readonly key?: string | Buffer
}

/** What to connect to, and how. */
export interface UpstreamSocketOptions {
  readonly host: string
  readonly port: number
  /** Undefined for plain TCP. */
  readonly tls: UpstreamTls | undefined
  readonly alpn: 'http/1.1' | 'h2'
  readonly onread: OnReadOpts
}

/** Opens a socket to a backend. It is ready when `connectEventOf` says so. */
export function openUpstreamSocket(options: UpstreamSocketOptions): Socket {
  const { host, port, tls, onread } = options
  // A half-closed tunnel must still carry the other direction; outside tunnels the owner closes on 'end'.
  if (tls === undefined) return connect({ host, port, noDelay: true, allowHalfOpen: true, onread })
  const { verify = false, ca, cert, key, servername = isIP(host) === 0 ? host : undefined } = tls
  const socket = connectTls({
    host,
    port,
    allowHalfOpen: true,
    ALPNProtocols: [options.alpn],
    rejectUnauthorized: verify,
    ...(servername === undefined ? {} : { servername }),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    onread,
  } as ConnectionOptions)
  socket.setNoDelay(true)
  return socket
}

/** The event after which bytes may be sent. */
export function connectEventOf(tls: UpstreamTls | undefined): 'connect' | 'secureConnect' {
  return tls === undefined ? 'connect' : 'secureConnect'
}
