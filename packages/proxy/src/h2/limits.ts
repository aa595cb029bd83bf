/** Every bound that the HTTP/2 engine keeps, with its unit in its name; README.md says what happens beyond each. */
export interface Http2Limits {
  /** Streams the peer may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS); beyond it REFUSED_STREAM. */
  readonly concurrentStreamsMax: number
  /** Decoded fields, each counted with 32 octets more (RFC 9113 §6.5.2); beyond it 431. */
  readonly headerListBytesMax: number
  /** Fields in one head, pseudo-header fields included; beyond it 431. */
  readonly headerFieldsMax: number
  /** `:path`; beyond it 414. */
  readonly targetBytesMax: number
  /** Octets of one encoded field block, CONTINUATION included; beyond it ENHANCE_YOUR_CALM. */
  readonly headerBlockBytesMax: number
  /** CONTINUATION frames of one field block; beyond it ENHANCE_YOUR_CALM. */
  readonly continuationFramesMax: number
  /** Largest payload we accept (SETTINGS_MAX_FRAME_SIZE). */
  readonly frameBytesMax: number
  /** HPACK table the peer may fill; at least 4096, so that no size update has to be awaited. */
  readonly decoderTableBytes: number
  /** HPACK table we fill, if the peer allows as much. */
  readonly encoderTableBytesMax: number
  /** What the peer may send on a stream before we ask for more; bounds what a paused stream buffers. */
  readonly streamWindowBytes: number
  /** The same for the whole connection. */
  readonly connectionWindowBytes: number
  /** Received bytes that paused streams of a connection may hold before its window stops growing. */
  readonly receiveBufferBytesMax: number
  /** Unsent bytes toward one socket above which DATA waits in its stream. */
  readonly outputBytesMax: number
  /** DATA waiting in one stream; a source that ignores back-pressure loses the stream. */
  readonly sendQueueBytesMax: number
  /** Acknowledgements and resets not yet taken by the kernel; a peer that never reads them is cut. */
  readonly unsentControlFramesMax: number
  /** Streams the peer cancelled or made us reset: burst and refill; beyond it ENHANCE_YOUR_CALM (rapid reset). */
  readonly resetsBurst: number
  readonly resetsPerSecond: number
  readonly settingsBurst: number
  readonly settingsPerSecond: number
  readonly pingsBurst: number
  readonly pingsPerSecond: number
  /** DATA frames that carry nothing and end nothing. */
  readonly emptyDataBurst: number
  readonly emptyDataPerSecond: number
  /** WINDOW_UPDATE frames. */
  readonly windowUpdatesBurst: number
  readonly windowUpdatesPerSecond: number
  /** PRIORITY, unknown and late frames: all that is ignored. */
  readonly ignoredFramesBurst: number
  readonly ignoredFramesPerSecond: number
  /** 1xx responses to one request; more is a broken backend. */
  readonly interimResponsesMax: number
  /** From the start to the peer's SETTINGS, and from our SETTINGS to their acknowledgement. */
  readonly handshakeTimeoutMs: number
  /** From a HEADERS frame without END_HEADERS to the end of the block. */
  readonly headTimeoutMs: number
  /** How long a connection may rest without streams. */
  readonly idleTimeoutMs: number
  /** How long unsent bytes may make no progress, for the socket or for one stream. */
  readonly stallTimeoutMs: number
  /** Between the two GOAWAY frames of a drain, if the peer does not answer the PING. */
  readonly goawayGraceMs: number
  /** How long a connection that sent its last GOAWAY waits for the peer to close. */
  readonly lingerTimeoutMs: number
}

const KIB = 1024

/** Defaults, each generous for honest peers and finite for the others. */
export const DEFAULT_HTTP2_LIMITS: Http2Limits = {
  concurrentStreamsMax: 256,
  headerListBytesMax: 64 * KIB,
  headerFieldsMax: 104,
  targetBytesMax: 8 * KIB,
  headerBlockBytesMax: 80 * KIB,
  continuationFramesMax: 16,
  frameBytesMax: 16 * KIB,
  decoderTableBytes: 4096,
  encoderTableBytesMax: 4096,
  streamWindowBytes: 256 * KIB,
  connectionWindowBytes: 1024 * KIB,
  receiveBufferBytesMax: 4 * 1024 * KIB,
  outputBytesMax: 256 * KIB,
  sendQueueBytesMax: 2 * 1024 * KIB,
  unsentControlFramesMax: 1000,
  resetsBurst: 400,
  resetsPerSecond: 50,
  settingsBurst: 100,
  settingsPerSecond: 10,
  pingsBurst: 2000,
  pingsPerSecond: 1000,
  emptyDataBurst: 200,
  emptyDataPerSecond: 100,
  windowUpdatesBurst: 20_000,
  windowUpdatesPerSecond: 10_000,
  ignoredFramesBurst: 2000,
  ignoredFramesPerSecond: 500,
  interimResponsesMax: 64,
  handshakeTimeoutMs: 10_000,
  headTimeoutMs: 10_000,
  idleTimeoutMs: 60_000,
  stallTimeoutMs: 30_000,
  goawayGraceMs: 1_000,
  lingerTimeoutMs: 2_000,
}
