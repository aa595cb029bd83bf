import type { InstanceId } from '@waiter/base'

/** As much of an exchange as is needed to end its tunnel. */
export interface OpenTunnel {
  closeTunnel(): void
}

/**
 * The upgraded connections of one service on this router, by instance: a WebSocket would outlast the time that a removed
 * instance has, so that it is told before the instance is stopped. Bounded by the connections that there are.
 */
export class OpenTunnels {
  readonly #byInstance = new Map<InstanceId, Set<OpenTunnel>>()
  #closing: ReadonlySet<InstanceId> = new Set()

  add(instanceId: InstanceId, tunnel: OpenTunnel): void {
    const tunnels = this.#byInstance.get(instanceId) ?? new Set()
    this.#byInstance.set(instanceId, tunnels)
    tunnels.add(tunnel)
    // Begun after everybody was told.
    if (this.#closing.has(instanceId)) tunnel.closeTunnel()
  }

  delete(instanceId: InstanceId, tunnel: OpenTunnel): void {
    const tunnels = this.#byInstance.get(instanceId)
    if (tunnels?.delete(tunnel) && tunnels.size === 0) this.#byInstance.delete(instanceId)
  }

  /** These instances are stopped in a moment. Closing what is being closed changes nothing. */
  closeOn(instanceIds: readonly InstanceId[]): void {
    this.#closing = new Set(instanceIds)
    for (const instanceId of instanceIds)
      for (const tunnel of [...(this.#byInstance.get(instanceId) ?? [])]) tunnel.closeTunnel()
  }
}
