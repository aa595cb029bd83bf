/** How a group gossips. All members of a cluster should use the same. Times in milliseconds. */
export interface GossipSettings {
  /** One member is probed in every such period (times local health + 1). */
  readonly probeIntervalMs: number
  /** How long the direct probe may take (times local health + 1) before others are asked. */
  readonly probeTimeoutMs: number
  readonly indirectProbes: number
  /** Each update is sent `retransmitMultiplier × ⌈log10(n + 1)⌉` times. */
  readonly retransmitMultiplier: number
  /** Shortest suspicion: `suspicionMultiplier × max(1, log10 n) × probeIntervalMs`. */
  readonly suspicionMultiplier: number
  /** The longest, without confirmation: so many times the shortest. */
  readonly suspicionMaxFactor: number
  readonly gossipIntervalMs: number
  readonly gossipFanOut: number
  /** The dead are told of their death for so long, so that they can refute it. */
  readonly gossipToDeadMs: number
  /** Full exchange with a random member; longer above 32 members. */
  readonly pushPullIntervalMs: number
  /** A seed or a lost member is tried so often by somebody (about thrice in the group). */
  readonly healIntervalMs: number
  /** The dead are remembered for so long, then reaped. */
  readonly reapAfterMs: number
  readonly awarenessMax: number
  /** An input that comes so much later than due means that this process itself was away (H3). */
  readonly stallMs: number
  /** Event-loop delay that counts as one point of local health; every doubling counts one more. */
  readonly loopDelayStepMs: number
  /** Bytes of a packet's body. The driver's envelope comes on top. */
  readonly packetBytesMax: number
  readonly membersMax: number
  readonly rowIntervalMs: number
  /** Up to so many members every row goes from its owner to everybody. */
  readonly fullMeshMax: number
  readonly rowFanOut: number
  readonly rowEntriesMax: number
  readonly rowBytesMax: number
  readonly keyBytesMax: number
  readonly valueBytesMax: number
  /** What was deleted is remembered for so long: more than two full exchanges. */
  readonly tombstoneMs: number
}

/** For routers in one data centre: a crash is noticed in 2 to 3 seconds, at most 9. */
export const DEFAULT_SETTINGS: GossipSettings = {
  probeIntervalMs: 500,
  probeTimeoutMs: 200,
  indirectProbes: 3,
  retransmitMultiplier: 4,
  suspicionMultiplier: 3,
  suspicionMaxFactor: 6,
  gossipIntervalMs: 100,
  gossipFanOut: 3,
  gossipToDeadMs: 30_000,
  pushPullIntervalMs: 15_000,
  healIntervalMs: 10_000,
  reapAfterMs: 600_000,
  awarenessMax: 8,
  stallMs: 200,
  loopDelayStepMs: 100,
  packetBytesMax: 1336,
  membersMax: 1024,
  rowIntervalMs: 250,
  fullMeshMax: 20,
  rowFanOut: 3,
  rowEntriesMax: 20_000,
  rowBytesMax: 262_144,
  keyBytesMax: 256,
  valueBytesMax: 4096,
  tombstoneMs: 60_000,
}

/** B1: how often an update is sent in a group of n. */
export function retransmitLimit(settings: GossipSettings, members: number): number {
  return settings.retransmitMultiplier * Math.ceil(Math.log10(members + 1))
}

/** F1: the shortest and the longest suspicion in a group of n. */
export function suspicionBounds(settings: GossipSettings, members: number): { minMs: number; maxMs: number } {
  const minMs = settings.suspicionMultiplier * Math.max(1, Math.log10(Math.max(1, members))) * settings.probeIntervalMs
  return { minMs, maxMs: minMs * settings.suspicionMaxFactor }
}

/** Above so many members full exchanges become rarer, with the logarithm of the size. */
const PUSH_PULL_SCALE_FROM = 32

/** D6: the period of full exchanges in a group of n. */
export function pushPullInterval(settings: GossipSettings, members: number): number {
  if (members <= PUSH_PULL_SCALE_FROM) return settings.pushPullIntervalMs
  return settings.pushPullIntervalMs * (Math.ceil(Math.log2(members) - Math.log2(PUSH_PULL_SCALE_FROM)) + 1)
}
