import type { CompiledPolicy } from '../h1/compiled-policy.ts'
import { FieldCode } from '../h1/field-table.ts'
import { FieldKind, Indexing } from '../h2/field-name.ts'
import { HeaderField } from '../h2/index.ts'

/** Lines remembered; the rest are made anew. */
const LINES_MAX = 1024
/** Longer ones hardly repeat. */
const LINE_LENGTH_MAX = 256
const STATUS_MAX = 599

/** Texts of lines remembered as a whole; there are a few for each service. */
const COMMON_LINES_MAX = 512

const lines = new Map<string, HeaderField>()
const commonLines = new Map<string, readonly HeaderField[]>()
const statuses: (HeaderField | undefined)[] = new Array<HeaderField | undefined>(STATUS_MAX + 1).fill(undefined)

/**
 * The field of a head line without its CRLF. Most lines of most responses repeat, and a field that is the same object
 * need not be judged again.
 */
export function fieldOfLine(line: string, colon: number): HeaderField {
  if (line.length > LINE_LENGTH_MAX) return makeField(line, colon)
  const known = lines.get(line)
  if (known !== undefined) return known
  const field = makeField(line, colon)
  if (field.about.indexing === Indexing.WITHOUT) return field
  if (lines.size >= LINES_MAX) lines.clear()
  // A copy of its own: a slice would keep the whole head alive.
  const ownLine = Buffer.from(line, 'latin1').toString('latin1')
  const kept = makeField(ownLine, colon)
  lines.set(ownLine, kept)
  return kept
}

function makeField(line: string, colon: number): HeaderField {
  return new HeaderField(line.slice(0, colon).toLowerCase(), trimBlanks(line.slice(colon + 1)))
}

function trimBlanks(value: string): string {
  return value.replace(/^[ \t]+|[ \t]+$/g, '')
}

/** `:status`. */
export function statusField(status: number): HeaderField {
  const known = statuses[status]
  if (known !== undefined) return known
  const field = new HeaderField(':status', String(status))
  statuses[status] = field
  return field
}

/**
 * Adds the fields of lines made by `renderHeader`. What an owner adds is mostly the same for all requests but for its
 * last line, an id: everything before it is looked up as one.
 */
export function pushLines(fields: HeaderField[], text: string): void {
  if (text === '') return
  const lastStart = text.lastIndexOf('\r\n', text.length - 3) + 2
  // Not found is -1, which makes 1 of it.
  if (lastStart > 1) {
    const common = text.slice(0, lastStart)
    let known = commonLines.get(common)
    if (known === undefined) {
      known = parseLines(common)
      if (commonLines.size >= COMMON_LINES_MAX) commonLines.clear()
      commonLines.set(common, known)
    }
    for (let i = 0; i < known.length; i++) fields.push(known[i]!)
    fields.push(parseLine(text, lastStart, text.length - 2))
  } else {
    fields.push(parseLine(text, 0, text.length - 2))
  }
}

function parseLines(text: string): HeaderField[] {
  const fields: HeaderField[] = []
  for (let start = 0; start < text.length; ) {
    const end = text.indexOf('\r\n', start)
    fields.push(parseLine(text, start, end))
    start = end + 2
  }
  return fields
}

/** `renderHeader` puts one blank behind the colon and none around the value. */
function parseLine(text: string, start: number, end: number): HeaderField {
  const colon = text.indexOf(':', start)
  return new HeaderField(text.slice(start, colon).toLowerCase(), text.slice(colon + 2, end))
}

/** Lines of HTTP/1.1 for fields whose names and values were checked when they were made. */
export function renderFields(fields: readonly HeaderField[]): string {
  let text = ''
  for (const { name, value } of fields) text += `${name}: ${value}\r\n`
  return text
}

/** Fields of a response that came over HTTP/2, less what policy and protocol keep here. */
export function collectResponse(fields: readonly HeaderField[], status: number, policy: CompiledPolicy): HeaderField[] {
  const { responseTable, cookiePrefixes } = policy
  const kept: HeaderField[] = []
  for (const field of fields) {
    const { kind } = field.about
    if (kind !== FieldKind.REGULAR && kind !== FieldKind.CONTENT_LENGTH && kind !== FieldKind.COOKIE) continue
    if (kind === FieldKind.CONTENT_LENGTH) {
      if (status >= 200 && status !== 204) kept.push(field)
      continue
    }
    const code = responseTable.codeOfName(field.name)
    if (code === FieldCode.OTHER) kept.push(field)
    else if (code === FieldCode.SET_COOKIE && !cookiePrefixes.some(prefix => field.value.startsWith(prefix))) {
      kept.push(field)
    }
  }
  return kept
}

/** Trailers that go on: nothing that frames, routes or authenticates, and nothing that the policy drops. */
export function collectTrailers(
  trailers: readonly HeaderField[] | null,
  table: CompiledPolicy['responseTable'],
): readonly HeaderField[] | null {
  if (trailers === null) return null
  const kept = trailers.filter(
    field =>
      field.fault === '' && field.about.kind === FieldKind.REGULAR && table.codeOfName(field.name) === FieldCode.OTHER,
  )
  return kept.length === 0 ? null : kept
}

/** A getter for the owner over decoded fields. */
export function getterOver(fields: readonly HeaderField[]): (lowerName: string) => string | undefined {
  return lowerName => {
    let value: string | undefined
    for (const field of fields) {
      if (field.name === lowerName) value = value === undefined ? field.value : `${value}, ${field.value}`
    }
    return value
  }
}
