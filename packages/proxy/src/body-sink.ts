/** Who reads a request's body. */
export interface BodySink {
  /** True for payload ranges, false for the bytes as framed. */
  readonly wantsPayload: boolean
  /** `bytes` are valid only during the call. */
  onRequestBody(bytes: Buffer, start: number, end: number): void
  /** @param needsFinalCrLf raw chunked only: the trailers were cut off and the message still lacks its last CRLF */
  onRequestEnd(needsFinalCrLf: boolean): void
  onRequestMalformed(detail: string): void
  /** The client sends too slowly. */
  onRequestStalled(): void
}
