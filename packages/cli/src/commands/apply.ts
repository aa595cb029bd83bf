import { WaiterError } from '@waiter/base'
import type { JsonObject } from '@waiter/services'
import { type CommandContext, type FormatOptions, formatOf, print } from '../context.ts'
import { checkDocument } from '../documents/check-document.ts'
import { readDocuments } from '../documents/read-documents.ts'
import { nameOf, readText } from '../documents/read-text.ts'
import { type DocumentProblem, renderPlace, type TokenDocument } from '../documents/token-document.ts'
import { cliError, EXIT } from '../errors.ts'
import { isJson, type StoredToken } from '../http/waiter-api.ts'
import { type Change, computeChanges, hideValues, renderChange } from '../output/changes.ts'
import { printable } from '../output/printable.ts'
import { chooseTarget } from './find.ts'

export interface ApplyOptions extends FormatOptions {
  readonly filename: readonly string[]
  readonly dryRun?: boolean
}

const TOKENS_MAX = 10_000
const PROBLEMS_SHOWN_MAX = 20
/** What Waiter adds to a token, and what another command puts there. */
const NOT_APPLIED = ['cluster', 'deleted', 'last-update-time', 'last-update-user', 'previous', 'root']

interface Applied {
  readonly token: string
  readonly cluster: string
  readonly result: 'created' | 'updated' | 'unchanged' | 'failed'
  readonly 'dry-run': boolean
  readonly etag?: string
  readonly changes: readonly Change[]
  readonly error?: string
}

/**
 * `waiter apply -f`: makes tokens what files say. Everything is read and checked first; a file with a mistake changes
 * nothing. Each token is then written only if nobody else has written it since it was read.
 */
export async function apply(
  context: CommandContext,
  token: string | undefined,
  options: ApplyOptions,
): Promise<number> {
  const format = formatOf(options)
  const documents = await readAll(context, token, options.filename)
  const results: Applied[] = []
  for (const document of documents) {
    const result = await applyOne(context, document, options.dryRun === true)
    results.push(result)
    if (result.error !== undefined) context.io.err(`waiter: ${result.error}`)
    else if (format === 'text') context.io.out(renderResult(context, result))
  }
  if (format !== 'text')
    await print(context.io, { results: results.map(one => ({ ...one, changes: one.changes.map(hideValues) })) }, format)
  return results.some(({ result }) => result === 'failed') ? EXIT.failed : EXIT.ok
}

async function readAll(
  context: CommandContext,
  token: string | undefined,
  names: readonly string[],
): Promise<readonly TokenDocument[]> {
  const documents: TokenDocument[] = []
  const problems: DocumentProblem[] = []
  for (const name of names) {
    const read = readDocuments({ name: nameOf(name), text: await readText(context.io, name) }, token)
    documents.push(...read.documents)
    const found = [...read.problems, ...read.documents.flatMap(checkDocument)]
    problems.push(...found.sort((a, b) => a.line - b.line))
  }
  const seen = new Map<string, TokenDocument>()
  for (const document of documents) {
    const first = seen.get(document.token)
    if (first === undefined) seen.set(document.token, document)
    else {
      const message = `${document.token} is described twice, first in ${renderPlace(first.placeOf([]))}`
      problems.push({ ...document.placeOf(['token']), message })
    }
  }
  if (documents.length > TOKENS_MAX)
    throw cliError('document', `more than ${TOKENS_MAX} tokens at once; nothing was changed`)
  if (problems.length === 0) return documents
  const lines = problems
    .slice(0, PROBLEMS_SHOWN_MAX)
    .map(problem => printable(`${renderPlace(problem)}: ${problem.message}`))
  if (problems.length > lines.length) lines.push(`… and ${problems.length - lines.length} more`)
  throw cliError('document', `${lines.join('\n')}\nNothing was changed.`)
}

async function applyOne(context: CommandContext, document: TokenDocument, isDryRun: boolean): Promise<Applied> {
  const { token } = document
  let cluster = ''
  try {
    const { api, stored } = await chooseTarget(context, token)
    cluster = api.cluster.name
    const body = toBody(document, stored)
    const changes = computeChanges(toComparable(document, stored), body)
    const about = { token, cluster, 'dry-run': isDryRun, changes }
    if (stored !== undefined && changes.length === 0) return { ...about, result: 'unchanged', etag: stored.etag }
    const result = stored === undefined ? 'created' : 'updated'
    if (isDryRun) return { ...about, result }
    const { etag } = await api.writeToken(token, body, stored?.etag ?? '')
    return { ...about, result, etag }
  } catch (error) {
    if (!(error instanceof WaiterError)) throw error
    return { token, cluster, result: 'failed', 'dry-run': isDryRun, changes: [], error: explain(document, error) }
  }
}

/** The owner stays who it is unless the file says otherwise, and maintenance is not the file's business either. */
function toBody({ body }: TokenDocument, stored: StoredToken | undefined): JsonObject {
  const maintenance = stored?.body.maintenance
  return maintenance === undefined || Object.hasOwn(body, 'maintenance') ? body : { ...body, maintenance }
}

function toComparable({ body }: TokenDocument, stored: StoredToken | undefined): JsonObject {
  const isCompared = ([key]: [string, unknown]): boolean =>
    !NOT_APPLIED.includes(key) && (key !== 'owner' || Object.hasOwn(body, 'owner'))
  return Object.fromEntries(Object.entries(stored?.body ?? {}).filter(isCompared))
}

/** What Waiter refused, with the lines of the file that it is about. */
function explain(document: TokenDocument, error: WaiterError): string {
  if (error.status === 412)
    return `${document.token}: somebody else has changed it in this moment. Nothing was changed; look at it and apply again.`
  const issue = error.details.issue
  const lines = Object.entries(isJson(issue) ? issue : {}).map(([key, message]) =>
    printable(`${renderPlace(document.placeOf([key]))}: ${String(message)}`),
  )
  return [`${renderPlace(document.placeOf([]))}: ${document.token}: ${error.message}`, ...lines].join('\n')
}

const DONE = { created: 'green', updated: 'yellow', unchanged: 'dim', failed: 'red' } as const
const SIGN_STYLE = { add: 'green', remove: 'red', change: 'yellow' } as const

function renderResult({ io }: CommandContext, { token, cluster, result, changes, ...about }: Applied): string {
  const isWould = about['dry-run'] && result !== 'unchanged'
  const head = `${token}: ${io.style(DONE[result], isWould ? `would be ${result}` : result)} in ${cluster}`
  return [head, ...changes.map(change => `  ${io.style(SIGN_STYLE[change.op], renderChange(change))}`)].join('\n')
}
