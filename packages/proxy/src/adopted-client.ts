/** What a listener knows of a connection that it accepted and hands to the engine. */
export interface AdoptedClient {
  /** What was agreed on: `plain` means HTTP/1.1. */
  readonly protocol: 'plain' | 'http/1.1'
  /**
   * The socket is paused, of the kernel's own TCP (no TLS in between), and may read into the engine's shared memory. Of
   * any other socket the engine listens to `'data'`.
   */
  readonly readsStatically: boolean
}
