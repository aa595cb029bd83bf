import type { JsonObject } from '@waiter/services'

/** A token as a file describes it. */
export interface TokenDocument {
  readonly token: string
  /** What is sent: without the name. */
  readonly body: JsonObject
  /** Where a key was written, or its nearest parent; the document itself for an empty path. */
  placeOf(path: readonly string[]): Place
  /** A value as it was written, for a message that says how to quote it. */
  sourceOf(path: readonly string[]): string | undefined
}

/** Where something was written. */
export interface Place {
  readonly file: string
  readonly line: number
}

/** What is wrong with a document, and where. */
export interface DocumentProblem extends Place {
  readonly message: string
}

/** `hello.yaml:7` */
export function renderPlace({ file, line }: Place): string {
  return `${file}:${line}`
}
