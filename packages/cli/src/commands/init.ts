import { userInfo } from 'node:os'
import { resolve } from 'node:path'
import type { CommandContext } from '../context.ts'
import { type JsonObject, mergeDeep } from '../documents/json-document.ts'
import { readParameterWords, readValue } from '../documents/token-words.ts'
import { cliError, EXIT } from '../errors.ts'
import { renderData } from '../output/format.ts'
import { printable } from '../output/printable.ts'
import { save } from './write-token.ts'

export interface InitOptions {
  readonly file: string
  readonly force?: boolean
  readonly yaml?: boolean
  readonly json?: boolean
  readonly parameters: Readonly<Record<string, string | undefined>>
}

/** `waiter init`: a file to begin with, for `waiter create --json FILE`. */
export async function init({ io }: CommandContext, words: readonly string[], options: InitOptions): Promise<number> {
  const [first] = words
  if (first !== undefined && !first.startsWith('-')) throw cliError('usage', `${JSON.stringify(first)} is no flag`)
  const short = Object.entries(options.parameters).flatMap(([key, text]) =>
    text === undefined ? [] : [[key, readValue(key, text)] as const],
  )
  const flags = mergeDeep(readParameterWords(words), Object.fromEntries(short))
  const isYaml = options.yaml === true || (options.json !== true && /\.ya?ml$/.test(options.file))
  const text = await renderData(mergeDeep(starter(), flags), isYaml ? 'yaml' : 'json')
  save(resolve(io.workingDirectory, options.file), text, options.file, options.force !== true)
  io.out(printable(`Writing token ${isYaml ? 'YAML' : 'JSON'} to ${options.file}`))
  return EXIT.ok
}

function starter(): JsonObject {
  return {
    cmd: 'your command',
    'concurrency-level': 120,
    cpus: 0.1,
    'health-check-url': '/your-health-check-endpoint',
    mem: 2048,
    'metric-group': 'your-metric-group',
    name: 'your-app-name',
    'permitted-user': '*',
    'run-as-user': userInfo().username,
    version: 'your version',
  }
}
