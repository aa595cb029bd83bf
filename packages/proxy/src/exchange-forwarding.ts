/** What an exchange asks of the forward in progress, whichever protocols it joins. */
export interface ExchangeForwarding {
  /** The client has seen a byte of the response. */
  readonly hasResponse: boolean
  /** The owner gives up. */
  cancel(): void
  onClientGone(): void
  onClientDrain(): void
  onClientTunnelBytes(bytes: Buffer): void
  onClientTunnelEnd(): void
  /** Ends what was upgraded, in the way of its protocol. */
  drainTunnel(): void
}
