/** What a listener knows of a connection that it accepted and hands to the engine. */
export interface AdoptedClient {
  /** What was agreed on by ALPN. `plain`: HTTP/1.1, or HTTP/2 by prior knowledge, as the first bytes say. */
  readonly protocol: 'plain' | 'http/1.1' | 'h2'
  /**
   * The socket is paused, of the kernel's own TCP (no TLS in between), and may read into the engine's shared memory. Of
   * any other socket the engine listens to `'data'`.
   */
  readonly readsStatically: boolean
}
