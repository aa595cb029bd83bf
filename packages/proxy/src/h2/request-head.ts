import type { RequestHead } from '../exchange.ts'
import { FieldKind } from './field-name.ts'
import type { HeaderField } from './header-field.ts'

/**
 * A request head that came over HTTP/2, over decoded fields. `Host` is seen as HTTP/1.1 would show it, whether it came
 * as `:authority` or as `host`.
 */
export class Http2RequestHead implements RequestHead {
  readonly httpVersion = '2.0'
  /** Every field, pseudo-header fields first. */
  readonly fields: readonly HeaderField[]
  method = ''
  scheme = ''
  target = ''
  authority = ''
  /** `:protocol` of an extended CONNECT (RFC 8441), or empty. */
  protocol = ''
  contentLength = 0
  bodyKind: 'none' | 'length' | 'chunked' = 'none'
  expectsContinue = false
  #host: string | null = null

  constructor(fields: readonly HeaderField[]) {
    this.fields = fields
  }

  get path(): string {
    const mark = this.target.indexOf('?')
    return mark === -1 ? this.target : this.target.slice(0, mark)
  }

  get query(): string | null {
    const mark = this.target.indexOf('?')
    return mark === -1 ? null : this.target.slice(mark + 1)
  }

  get host(): string {
    if (this.#host === null) this.#host = this.authority.replace(/:[0-9]*$/, '').toLowerCase()
    return this.#host
  }

  /** An extended CONNECT asks for a tunnel. */
  get isUpgrade(): boolean {
    return this.protocol !== ''
  }

  get fieldCount(): number {
    let count = 0
    for (const field of this.fields) if (!isPseudo(field)) count += 1
    return count
  }

  get(lowerName: string): string | undefined {
    if (lowerName === 'host') return this.authority === '' ? undefined : this.authority
    let joined: string | undefined
    for (const field of this.fields) {
      if (field.name !== lowerName || isPseudo(field)) continue
      if (joined === undefined) joined = field.value
      else joined += (lowerName === 'cookie' ? '; ' : ', ') + field.value
    }
    return joined
  }

  has(lowerName: string): boolean {
    return this.get(lowerName) !== undefined
  }

  /** Regular fields in order; `host` first when it came as `:authority`. */
  forEach(callback: (name: string, value: string) => void, lowerPrefix = ''): void {
    if ('host'.startsWith(lowerPrefix) && this.authority !== '') {
      const hasHost = this.fields.some(field => field.about.kind === FieldKind.HOST)
      if (!hasHost) callback('host', this.authority)
    }
    for (const field of this.fields) {
      if (field.name.startsWith(lowerPrefix) && !isPseudo(field)) callback(field.name, field.value)
    }
  }
}

function isPseudo(field: HeaderField): boolean {
  return field.name.charCodeAt(0) === 0x3a
}
