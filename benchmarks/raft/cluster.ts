/** Three members of something that takes etcd's `Put`. */
export interface Cluster {
  readonly name: string
  /** `host:port` of the leader's client API. */
  leaderAddress(): Promise<string>
  stop(): Promise<void>
}
