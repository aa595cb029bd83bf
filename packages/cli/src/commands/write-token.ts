import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { checkTokenName, createServicesConfig } from '@waiter/services'
import type { CommandContext } from '../context.ts'
import { commonPaths, isMap, type JsonObject, mergeDeep } from '../documents/json-document.ts'
import { type DocumentFormat, fillIn, readDocument } from '../documents/read-document.ts'
import { nameOf } from '../documents/read-text.ts'
import { readParameterWords, readValue } from '../documents/token-words.ts'
import { cliError, EXIT } from '../errors.ts'
import { labelOf } from '../http/problems.ts'
import { renderData } from '../output/format.ts'
import { printable } from '../output/printable.ts'
import { chooseTarget } from './find.ts'

/** Flags of `create` and `update` that are not parameters by their own name. */
export interface WriteOptions {
  readonly json?: string
  readonly yaml?: string
  readonly input?: string
  /** A file of variables. */
  readonly context?: string
  /** True: flags win over the file; false or absent: both is an error. */
  readonly override?: boolean
  /** Where the document goes instead of a Waiter. */
  readonly output?: string
  readonly admin?: boolean
  /** Parameters with a short flag, as text. */
  readonly parameters: Readonly<Record<string, string | undefined>>
}

/** What Waiter adds to a token. */
const SYSTEM_KEYS = ['cluster', 'deleted', 'last-update-time', 'last-update-user', 'previous', 'root']
const CONTEXT_FLAG = /^--context\./

/** `waiter create` makes a token what flags and file say; `waiter update` changes what they name (spec §10.2). */
export async function writeToken(
  context: CommandContext,
  kind: 'create' | 'update',
  words: readonly string[],
  options: WriteOptions,
): Promise<number> {
  const wanted = await readWanted(context, words, options)
  const name = wanted.token
  const checked = checkTokenName(name, createServicesConfig())
  if (!checked.ok) throw cliError('usage', checked.error.message)
  const { api, stored } = await chooseTarget(context, name)
  const before = (stored?.body ?? {}) as JsonObject
  const kept = Object.fromEntries(Object.entries(before).filter(([key]) => !SYSTEM_KEYS.includes(key)))
  // A file replaces what it names as a whole, flags go into maps.
  const body =
    kind === 'create' || stored === undefined
      ? mergeDeep(wanted.file, wanted.flags)
      : mergeDeep({ ...kept, ...wanted.file }, wanted.flags)
  if (options.output !== undefined) return await writeOutput(context, options.output, { token: name, ...body })
  const { result } = await api.writeToken(name, body, stored?.etag ?? '', options.admin === true ? 'admin' : undefined)
  const done =
    result === 'token-no-op' ? 'No change to' : `Successfully ${stored === undefined ? 'created' : 'updated'}`
  context.io.out(printable(`${done} ${name} in ${labelOf(api.cluster)}.`))
  return EXIT.ok
}

async function readWanted(context: CommandContext, words: readonly string[], options: WriteOptions) {
  const first = words.findIndex(word => word.startsWith('-'))
  const operands = first < 0 ? words : words.slice(0, first)
  const [named, ...others] = operands
  if (others.length > 0) throw cliError('usage', `one token at a time: ${others.join(' ')} is too much`)
  const rest = first < 0 ? [] : words.slice(first)
  const split = splitContext(rest)
  const short = Object.entries(options.parameters).flatMap(([key, text]) =>
    text === undefined ? [] : [[key, readValue(key, text)] as const],
  )
  const flags = mergeDeep(readParameterWords(split.parameters), Object.fromEntries(short))
  const source = await readSource(context, options, split.context)
  const { token: said, ...file } = source.document
  if (said !== undefined && typeof said !== 'string') throw cliError('document', `${source.name}: token is not text`)
  if (said !== undefined && named !== undefined && options.override !== true)
    throw cliError('usage', `the command line and ${source.name} both name the token; --override takes the former`)
  const token = named ?? said
  if (token === undefined) throw cliError('usage', 'must specify the token name')
  const both = commonPaths(file, flags)
  if (both.length > 0 && options.override === undefined)
    throw cliError(
      'usage',
      `${both.join(', ')}: in ${source.name} and as a flag; --override takes the flag, --no-override the file`,
    )
  return options.override === false ? { token, file: {}, flags: mergeDeep(flags, file) } : { token, file, flags }
}

function splitContext(words: readonly string[]): { readonly context: string[]; readonly parameters: string[] } {
  const split = { context: [] as string[], parameters: [] as string[] }
  for (let at = 0; at < words.length; ) {
    const word = words[at] as string
    const size = word.includes('=') ? 1 : 2
    const pair = words.slice(at, at + size)
    if (CONTEXT_FLAG.test(word)) split.context.push(word.replace(CONTEXT_FLAG, '--'), ...pair.slice(1))
    else split.parameters.push(...pair)
    at += size
  }
  return split
}

/** The file that was named, with the variables of the context in their places. */
async function readSource(
  { io }: CommandContext,
  options: WriteOptions,
  contextWords: readonly string[],
): Promise<{ readonly name: string; readonly document: JsonObject }> {
  const files = [
    ['json', options.json],
    ['yaml', options.yaml],
    ['yaml', options.input],
  ].filter((pair): pair is [DocumentFormat, string] => pair[1] !== undefined)
  const [found, ...others] = files
  if (others.length > 0) throw cliError('usage', 'give one of --json, --yaml and --input')
  const hasContext = options.context !== undefined || contextWords.length > 0
  if (found === undefined) {
    if (hasContext) throw cliError('usage', 'a context goes with a file: --json, --yaml or --input')
    return { name: 'the file', document: {} }
  }
  const [format, file] = found
  const document = await readDocument(io, file, format)
  if (!hasContext) return { name: nameOf(file), document }
  const fromFile = options.context === undefined ? {} : await readDocument(io, options.context, 'yaml')
  const filled = fillIn(document, { ...fromFile, ...readParameterWords(contextWords) })
  return { name: nameOf(file), document: isMap(filled) ? filled : {} }
}

async function writeOutput({ io }: CommandContext, file: string, document: JsonObject): Promise<number> {
  const text = await renderData(document, /\.ya?ml$/.test(file) ? 'yaml' : 'json')
  if (file === '-') io.out(text)
  else save(resolve(io.workingDirectory, file), text, file)
  return EXIT.ok
}

/** @param isNew refuse to replace a file that is there */
export function save(path: string, text: string, name: string, isNew = false): void {
  try {
    writeFileSync(path, `${text}\n`, { flag: isNew ? 'wx' : 'w' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST')
      throw cliError('notDone', `There is already a file ${name}; --force replaces it`)
    throw cliError('notDone', `cannot write ${name}: ${(error as Error).message}`, error)
  }
}
