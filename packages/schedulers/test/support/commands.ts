const NODE = process.execPath

/** A service that answers everything with 200. `before` runs first, in the same program. */
export function healthyCommand(host = '0.0.0.0', before = ''): string {
  return nodeCommand(
    `${before};require("node:http").createServer((q,r)=>r.end("ok")).listen(process.env.PORT0,"${host}")`,
  )
}

/** Runs a program that holds no single quote. */
export function nodeCommand(program: string): string {
  return `exec ${NODE} -e '${program}'`
}

/** Runs, never listens. */
export const SILENT = 'exec sleep 1000'
