/**
 * One line per request, to `stdout`, `stderr` or a file's end; nowhere when undefined. The line is only made when
 * somebody wants it.
 */
export function createRequestLog(output: string | undefined): (line: () => string) => void {
  if (output === undefined) return () => undefined
  if (output === 'stdout' || output === 'stderr') {
    const stream = process[output]
    return line => void stream.write(`${line()}\n`)
  }
  const { appendFileSync } = process.getBuiltinModule('node:fs')
  return line => appendFileSync(output, `${line()}\n`)
}
