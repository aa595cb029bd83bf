import { styleText } from 'node:util'
import { cliError } from './errors.ts'
import { printable } from './output/printable.ts'

/** What a command may use of the world around it. */
export interface Io {
  /** Lines for whoever or whatever called. */
  out(text: string): void
  /** Bytes as they are; resolves when more may come. */
  outBytes(bytes: Uint8Array): Promise<void>
  /** Errors, hints and progress; control characters are shown, not sent. */
  err(text: string): void
  /** In colour when stdout is a terminal that has colours; plain otherwise. */
  style(how: Style, text: string): string
  /** @throws WaiterError when there is more than anybody writes */
  readStdin(bytesMax: number): Promise<string>
  readonly workingDirectory: string
  readonly homeDirectory: string
}

/** How a piece of text stands out. */
export type Style = 'bold' | 'green' | 'red' | 'yellow' | 'dim'

/** The streams of this process. */
export function createProcessIo(homeDirectory: string): Io {
  // `waiter logs x | head`: whoever reads has seen enough.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
  return {
    out: text => void process.stdout.write(`${text}\n`),
    outBytes: bytes => new Promise(resolve => process.stdout.write(bytes, () => resolve())),
    err: text => void process.stderr.write(`${printable(text)}\n`),
    // Honours NO_COLOR, FORCE_COLOR and whether stdout is a terminal.
    style: (how, text) => styleText(how, text, { stream: process.stdout }),
    readStdin,
    workingDirectory: process.cwd(),
    homeDirectory,
  }
}

async function readStdin(bytesMax: number): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > bytesMax) throw cliError('document', `standard input is larger than ${bytesMax} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
