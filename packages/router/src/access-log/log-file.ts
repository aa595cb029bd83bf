import { close, fstat, mkdir, open, read, rename, stat, write } from 'node:fs'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import type { Logger } from '@waiter/base'

/** One write to the disk brings up to this much. */
const CHUNK_BYTES = 512 * 1024
/** With so much gathered, writing begins at once. */
const FLUSH_BYTES = 256 * 1024
/** What is less goes out after this. */
const FLUSH_MS = 100
/** Lines that wait for the disk; what comes beyond is dropped and counted. */
const QUEUE_BYTES_MAX = 8 * 1024 * 1024
const QUEUE_CHUNKS_MAX = QUEUE_BYTES_MAX / CHUNK_BYTES
/** Chunks kept for reuse. */
const SPARES_MAX = 2
/** After an error of the disk the next attempt waits so long. */
const RETRY_MS = 1_000
/** How often we look whether somebody moved the file away. */
const IDENTITY_CHECK_MS = 5_000
const NEWLINE = 0x0a
/** Errors after which the open file is still the right one. */
const FULL_DISK: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EAGAIN', 'EINTR'])

/** What the log needs of the file system; tests break it. */
export interface LogFileSystem {
  open(path: string): Promise<number>
  close(fd: number): Promise<void>
  write(fd: number, bytes: Uint8Array, offset: number, length: number): Promise<number>
  /** Size and identity of an open file, and whether it ends with a whole line. */
  describe(fd: number): Promise<{ readonly bytes: number; readonly id: string; readonly endsWithLine: boolean }>
  /** Identity of what has that name now; undefined when there is nothing. */
  identify(path: string): Promise<string | undefined>
  rename(from: string, to: string): Promise<void>
}

export interface LogFileOptions {
  readonly path: string
  /** Beyond this size the file is renamed to `.1`, that to `.2` and so on. */
  readonly bytesMax: number
  /** Files kept, the present one included. */
  readonly filesMax: number
  readonly log: Logger
  readonly nowMs: () => number
  readonly files?: LogFileSystem
}

/** Figures for `/state`. */
export interface LogFileStats {
  readonly path: string
  readonly writtenLines: number
  /** Lost because the disk was full, slow or broken, and more than the queue holds came. */
  readonly droppedLines: number
  readonly queuedBytes: number
  readonly failures: number
  /** The last failure's code while it lasts. */
  readonly problem: string | null
}

interface Chunk {
  readonly bytes: Buffer
  used: number
  lines: number
  /** Already on disk. */
  sent: number
}

/**
 * A log that never makes a request wait: lines are copied into memory and written in the background, many at a time. A
 * disk that cannot keep up or fails costs lines, which are counted here and in the log itself, never requests.
 */
export class LogFile {
  readonly #options: LogFileOptions
  readonly #files: LogFileSystem
  readonly #queue: Chunk[] = []
  readonly #spares: Chunk[] = []
  #chunk: Chunk = newChunk()
  #fd: number | undefined
  #fileId = ''
  #fileBytes = 0
  #checkedAtMs = 0
  #timer: NodeJS.Timeout | undefined
  #retryTimer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  #isClosed = false
  #writtenLines = 0
  #droppedLines = 0
  #reportedDrops = 0
  #failures = 0
  #problem: string | null = null

  constructor(options: LogFileOptions) {
    this.#options = options
    this.#files = options.files ?? systemFiles
  }

  stats(): LogFileStats {
    return {
      path: this.#options.path,
      writtenLines: this.#writtenLines,
      droppedLines: this.#droppedLines,
      queuedBytes: this.#queue.reduce((sum, { used, sent }) => sum + used - sent, this.#chunk.used),
      failures: this.#failures,
      problem: this.#problem,
    }
  }

  /**
   * Takes a line.
   *
   * @param bytes whole lines; copied, so that the memory is free again
   */
  append(bytes: Buffer, length: number): void {
    if (this.#chunk.used + length > CHUNK_BYTES && (length > CHUNK_BYTES || this.#isClosed || !this.#seal())) {
      this.#droppedLines += 1
      return
    }
    const chunk = this.#chunk
    bytes.copy(chunk.bytes, chunk.used, 0, length)
    chunk.used += length
    chunk.lines += 1
    if (chunk.used >= FLUSH_BYTES) this.#flush()
    else this.#timer ??= this.#startTimer()
  }

  /** Writes what there is; what the disk does not take now is lost. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    // A write that is under way may have begun before the last lines came.
    await this.#writing
    clearTimeout(this.#retryTimer)
    this.#retryTimer = undefined
    this.#flush()
    await this.#writing
    await this.#closeFile()
  }

  #startTimer(): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timer = undefined
      this.#flush()
    }, FLUSH_MS)
    timer.unref()
    return timer
  }

  /** Puts the present chunk in line; false when the line is full. */
  #seal(): boolean {
    if (this.#queue.length >= QUEUE_CHUNKS_MAX) return false
    this.#queue.push(this.#chunk)
    this.#chunk = this.#spares.pop() ?? newChunk()
    return true
  }

  #flush(): void {
    if (this.#writing !== undefined || this.#retryTimer !== undefined) return
    if (this.#queue.length === 0 && this.#chunk.used === 0) return
    this.#writing = this.#writeAll().finally(() => {
      this.#writing = undefined
    })
  }

  async #writeAll(): Promise<void> {
    try {
      for (;;) {
        if (this.#queue.length === 0 && (this.#chunk.used === 0 || !this.#seal())) break
        const chunk = this.#queue[0]!
        await this.#writeChunk(chunk)
        this.#queue.shift()
        this.#writtenLines += chunk.lines
        this.#recycle(chunk)
        this.#recovered()
        // What gathered meanwhile waits for company, unless it is much.
        if (this.#chunk.used < FLUSH_BYTES && this.#queue.length === 0 && !this.#isClosed) break
      }
      if (this.#chunk.used > 0) this.#timer ??= this.#startTimer()
    } catch (error) {
      await this.#fail(error as NodeJS.ErrnoException)
    }
  }

  async #writeChunk(chunk: Chunk): Promise<void> {
    await this.#makeReady(chunk.used - chunk.sent)
    while (chunk.sent < chunk.used) {
      const count = await this.#files.write(this.#fd!, chunk.bytes, chunk.sent, chunk.used - chunk.sent)
      chunk.sent += count
      this.#fileBytes += count
    }
  }

  /** An open file with room for so much. */
  async #makeReady(bytes: number): Promise<void> {
    const { path, bytesMax, nowMs } = this.#options
    if (this.#fd !== undefined && nowMs() - this.#checkedAtMs >= IDENTITY_CHECK_MS) {
      this.#checkedAtMs = nowMs()
      if ((await this.#files.identify(path)) !== this.#fileId) await this.#closeFile()
    }
    if (this.#fd === undefined) await this.#openFile()
    if (this.#fileBytes === 0 || this.#fileBytes + bytes <= bytesMax) return
    await this.#closeFile()
    await this.#rotate()
    await this.#openFile()
  }

  async #openFile(): Promise<void> {
    const fd = await this.#files.open(this.#options.path)
    this.#fd = fd
    const { bytes, id, endsWithLine } = await this.#files.describe(fd)
    this.#fileBytes = bytes
    this.#fileId = id
    this.#checkedAtMs = this.#options.nowMs()
    // Half a line that a killed process left must not swallow our first one.
    if (!endsWithLine) this.#fileBytes += await this.#files.write(fd, Uint8Array.of(NEWLINE), 0, 1)
  }

  async #closeFile(): Promise<void> {
    const fd = this.#fd
    this.#fd = undefined
    if (fd !== undefined) await this.#files.close(fd).catch(() => undefined)
  }

  async #rotate(): Promise<void> {
    const { path, filesMax } = this.#options
    for (let age = filesMax - 1; age >= 1; age--) {
      const from = age === 1 ? path : `${path}.${age - 1}`
      await this.#files.rename(from, `${path}.${age}`).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error
      })
    }
  }

  /** The chunk stays first in line. Lines go on gathering behind it, until there is no more room. */
  async #fail(error: NodeJS.ErrnoException): Promise<void> {
    const code = error.code ?? error.message
    this.#failures += 1
    if (this.#problem !== code)
      this.#options.log.warn({ err: error, path: this.#options.path }, 'the request log cannot be written')
    this.#problem = code
    if (!FULL_DISK.has(code)) {
      await this.#closeFile()
      const chunk = this.#queue[0]
      // Another file begins with a whole line.
      if (chunk !== undefined && chunk.sent > 0) chunk.sent = chunk.bytes.lastIndexOf(NEWLINE, chunk.sent - 1) + 1
    }
    if (this.#isClosed) {
      this.#droppedLines += this.#queue.reduce((sum, { lines }) => sum + lines, this.#chunk.lines)
      this.#queue.length = 0
      this.#chunk = newChunk()
      return
    }
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined
      this.#flush()
    }, RETRY_MS)
    this.#retryTimer.unref()
  }

  #recovered(): void {
    if (this.#problem !== null) this.#options.log.info({ path: this.#options.path }, 'the request log is written again')
    this.#problem = null
    const lost = this.#droppedLines - this.#reportedDrops
    if (lost === 0 || this.#isClosed) return
    this.#reportedDrops = this.#droppedLines
    const notice = { 'request-type': 'log-lines-dropped', dropped: lost, 'dropped-total': this.#droppedLines }
    const line = Buffer.from(`${JSON.stringify(notice)}\n`)
    this.append(line, line.length)
  }

  #recycle(chunk: Chunk): void {
    chunk.used = 0
    chunk.lines = 0
    chunk.sent = 0
    if (this.#spares.length < SPARES_MAX) this.#spares.push(chunk)
  }
}

function newChunk(): Chunk {
  return { bytes: Buffer.allocUnsafeSlow(CHUNK_BYTES), used: 0, lines: 0, sent: 0 }
}

const FILE_MODE = 0o600
const DIRECTORY_MODE = 0o700
const openFile = promisify(open)
const closeFile = promisify(close)
const statFile = promisify(stat)
const statOpenFile = promisify(fstat)
const readFile = promisify(read)
const writeFile = promisify(write)
const renameFile = promisify(rename)
const makeDirectory = promisify(mkdir)

const idOf = ({ dev, ino }: { dev: number; ino: number }): string => `${dev}:${ino}`

const systemFiles: LogFileSystem = {
  open: async path => {
    await makeDirectory(dirname(path), { recursive: true, mode: DIRECTORY_MODE })
    return await openFile(path, 'a+', FILE_MODE)
  },
  close: fd => closeFile(fd),
  write: async (fd, bytes, offset, length) => (await writeFile(fd, bytes, offset, length, null)).bytesWritten,
  describe: async fd => {
    const status = await statOpenFile(fd)
    const { size } = status
    if (size === 0) return { bytes: 0, id: idOf(status), endsWithLine: true }
    const { buffer } = await readFile(fd, Buffer.alloc(1), 0, 1, size - 1)
    return { bytes: size, id: idOf(status), endsWithLine: buffer[0] === NEWLINE }
  },
  identify: async path => {
    try {
      return idOf(await statFile(path))
    } catch {
      return undefined
    }
  },
  rename: (from, to) => renameFile(from, to),
}
