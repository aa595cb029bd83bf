import { checkTokenName, createServicesConfig, type JsonObject } from '@waiter/services'
import {
  type Document,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  type YAMLMap,
} from 'yaml'
import type { DocumentProblem, Place, TokenDocument } from './token-document.ts'

/** A file with tokens. */
export interface DocumentFile {
  /** As the user named it. */
  readonly name: string
  readonly text: string
}

export interface ReadDocuments {
  readonly documents: readonly TokenDocument[]
  readonly problems: readonly DocumentProblem[]
}

/** More aliases than anybody writes by hand. */
const ALIASES_MAX = 100

/**
 * Reads YAML or JSON: documents and lists of maps, each with its name under `token`.
 *
 * @param token the name when the file has a single map without one
 */
export function readDocuments(file: DocumentFile, token: string | undefined): ReadDocuments {
  const lines = new LineCounter()
  const parsed = parseAllDocuments(file.text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  const problems: DocumentProblem[] = []
  const documents: TokenDocument[] = []
  for (const document of parsed) {
    const [first] = [...document.errors, ...document.warnings]
    if (first !== undefined) {
      problems.push(problemIn(file, lines.linePos(first.pos[0]).line, first.message))
      continue
    }
    const { contents } = document
    if (contents === null || (isScalar(contents) && contents.value === null)) continue
    for (const node of isSeq(contents) ? contents.items : [contents]) {
      const one = readOne({ file, document, lines }, node, token)
      if ('message' in one) problems.push(one)
      else documents.push(one)
    }
  }
  if (documents.length === 0 && problems.length === 0)
    problems.push(problemIn(file, 1, 'there is no token in the file'))
  return { documents, problems }
}

interface Source {
  readonly file: DocumentFile
  readonly document: Document
  readonly lines: LineCounter
}

function readOne(source: Source, node: unknown, wanted: string | undefined): TokenDocument | DocumentProblem {
  const { file, document, lines } = source
  const line = isNode(node) ? lineOf(lines, node) : 1
  if (!isMap(node))
    return problemIn(file, line, 'a token is a map with its name under token: `token: hello`, then its parameters')
  let plain: unknown
  try {
    plain = node.toJS(document, { maxAliasCount: ALIASES_MAX })
  } catch (error) {
    return problemIn(file, line, (error as Error).message)
  }
  const { token: said, ...body } = plain as { token?: unknown } & Record<string, unknown>
  const place = (path: readonly string[]): Place => ({
    file: file.name,
    line: lineOf(lines, keyAt(node, path) ?? node),
  })
  if (said !== undefined && typeof said !== 'string')
    return { ...place(['token']), message: 'token: the name must be text; put it in quotes' }
  if (said !== undefined && wanted !== undefined && said !== wanted)
    return { ...place(['token']), message: `token: the command line says ${wanted}, the file ${said}` }
  const name = wanted ?? said
  if (name === undefined)
    return problemIn(file, line, 'must specify the token name: a key token, or `waiter apply NAME -f …`')
  const checked = checkTokenName(name, createServicesConfig())
  if (!checked.ok) return { ...place(['token']), message: `token: ${checked.error.message}` }
  return {
    token: name,
    body: body as JsonObject,
    placeOf: place,
    sourceOf: path => sourceAt(node, path),
  }
}

/** The key of the deepest part of a path that was written. */
function keyAt(map: YAMLMap, path: readonly string[]): Node | undefined {
  let found: Node | undefined
  let node: unknown = map
  for (const step of path) {
    const pair = isMap(node) ? node.items.find(({ key }) => isScalar(key) && String(key.value) === step) : undefined
    if (pair === undefined) break
    if (isNode(pair.key)) found = pair.key
    node = pair.value
  }
  return found
}

function sourceAt(map: YAMLMap, path: readonly string[]): string | undefined {
  const node = map.getIn(path, true)
  return isScalar(node) ? (node.source ?? String(node.value)) : undefined
}

function lineOf(lines: LineCounter, node: Node): number {
  return node.range == null ? 1 : lines.linePos(node.range[0]).line
}

function problemIn(file: DocumentFile, line: number, message: string): DocumentProblem {
  return { file: file.name, line, message }
}
