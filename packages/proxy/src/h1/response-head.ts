import type { HeaderGetter } from '../exchange.ts'
import { Framing } from './body-decoder.ts'
import { FieldCode } from './field-table.ts'
import { equalsLower, parseContentLength } from './field-values.ts'
import { type ConnectionOptions, findField, markNominated, readConnectionOptions } from './head-fields.ts'
import type { HeadScanner } from './head-scanner.ts'

/** The response head of one upstream connection; one object for all its responses, so valid until the next. */
export class ResponseHead {
  readonly scanner: HeadScanner
  text = ''
  status = 0
  /** `Framing` of the body. */
  framing: number = Framing.NONE
  contentLength = -1
  isChunked = false
  keepAlive = false
  /** 101 that says so in Connection too. */
  hasUpgrade = false
  upgradeProtocol = ''
  /** Looks a field up; bound, so that it can be handed out without a closure per response. */
  readonly get: HeaderGetter

  constructor(scanner: HeadScanner) {
    this.scanner = scanner
    this.get = lowerName => findField(this.text, this.scanner, lowerName)
  }

  /** Keeps every field of this name from the client. */
  dropField(lowerName: string): void {
    markNominated(this.text, this.scanner, [lowerName], FieldCode.EXPECT, FieldCode.DROP)
  }

  /** Interprets the scanned head. Returns why it is unacceptable, or an empty string. */
  read(bytes: Buffer, base: number, isHeadRequest: boolean): string {
    const scanner = this.scanner
    this.text = bytes.toString('latin1', base, base + scanner.headEnd)
    this.status = scanner.status
    this.contentLength = -1
    this.isChunked = false
    this.upgradeProtocol = ''
    const connection: ConnectionOptions = { close: false, keepAlive: false, upgrade: false, nominated: null }
    const error = this.#readFields(connection)
    if (error !== '') return error
    if (connection.nominated !== null) {
      markNominated(this.text, scanner, connection.nominated, FieldCode.EXPECT, FieldCode.DROP)
    }
    this.keepAlive = connection.close ? false : scanner.minorVersion === 1 || connection.keepAlive
    this.hasUpgrade = connection.upgrade && this.upgradeProtocol !== ''
    this.framing = this.#framingFor(isHeadRequest)
    return ''
  }

  #framingFor(isHeadRequest: boolean): number {
    const { status } = this
    if (isHeadRequest || status < 200 || status === 204 || status === 304) return Framing.NONE
    if (this.isChunked) return Framing.CHUNKED
    return this.contentLength >= 0 ? Framing.LENGTH : Framing.UNTIL_CLOSE
  }

  #readFields(connection: ConnectionOptions): string {
    const { fields, codes, fieldCount, minorVersion } = this.scanner
    for (let i = 0; i < fieldCount; i++) {
      const code = codes[i]!
      if (code === FieldCode.OTHER || code >= FieldCode.SET_COOKIE) continue
      const start = fields[i * 4 + 2]!
      const end = fields[i * 4 + 3]!
      if (code === FieldCode.CONTENT_LENGTH) {
        if (this.contentLength >= 0) return 'more than one Content-Length'
        if (this.isChunked) return 'both Content-Length and Transfer-Encoding'
        this.contentLength = parseContentLength(this.text, start, end)
        if (this.contentLength < 0) return 'Content-Length is not a plain decimal number'
        // Not canonical: rendered anew by the writer.
        if (end - start > 1 && this.text.charCodeAt(start) === 0x30) return 'Content-Length has superfluous zeros'
      } else if (code === FieldCode.TRANSFER_ENCODING) {
        if (this.isChunked) return 'more than one Transfer-Encoding'
        if (this.contentLength >= 0) return 'both Content-Length and Transfer-Encoding'
        if (minorVersion === 0) return 'Transfer-Encoding in an HTTP/1.0 response'
        if (!equalsLower(this.text, start, end, 'chunked')) return 'Transfer-Encoding is not exactly "chunked"'
        this.isChunked = true
      } else if (code === FieldCode.CONNECTION) {
        readConnectionOptions(this.text, start, end, connection)
      } else if (code === FieldCode.UPGRADE) {
        this.upgradeProtocol = this.text.slice(start, end)
      }
    }
    return ''
  }
}
