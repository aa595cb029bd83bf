/** What a connection tells the exchange it carries. */
export interface ExchangeSide {
  /** The client vanished. Called at most once, and nothing after it. */
  onGone(): void
  onDrain(): void
  /** Bytes of an upgraded connection; valid only during the call. */
  onTunnelBytes(bytes: Buffer): void
  onTunnelEnd(): void
  onTunnelDrain(): void
}
