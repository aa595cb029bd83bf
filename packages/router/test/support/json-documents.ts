import { get, type IncomingMessage } from 'node:http'

/** Reads JSON documents that come one after the other, without separators. */
export class JsonDocuments {
  readonly #response: IncomingMessage
  readonly #documents: ReturnType<typeof JSON.parse>[] = []
  #wake: () => void = () => undefined
  #text = ''
  #isEnded = false

  constructor(response: IncomingMessage) {
    this.#response = response
    response.setEncoding('utf8')
    response.on('data', (piece: string) => {
      this.#text += piece
      this.#cut()
      this.#wake()
    })
    const end = (): void => {
      this.#isEnded = true
      this.#wake()
    }
    response.on('end', end)
    response.on('error', end)
    response.on('close', end)
  }

  /** The next document; undefined when the stream has ended. */
  async next(): Promise<ReturnType<typeof JSON.parse>> {
    while (this.#documents.length === 0 && !this.#isEnded)
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    return this.#documents.shift()
  }

  pause(): void {
    this.#response.pause()
  }

  resume(): void {
    this.#response.resume()
  }

  close(): void {
    this.#response.destroy()
  }

  #cut(): void {
    let depth = 0
    let isText = false
    let start = 0
    for (let index = 0; index < this.#text.length; index++) {
      const char = this.#text[index]
      if (isText) {
        if (char === '\\') index += 1
        else if (char === '"') isText = false
      } else if (char === '"') isText = true
      else if (char === '{' || char === '[') depth += 1
      else if ((char === '}' || char === ']') && --depth === 0) {
        this.#documents.push(JSON.parse(this.#text.slice(start, index + 1)))
        start = index + 1
      }
    }
    this.#text = this.#text.slice(start)
  }
}

/** Opens a stream of documents on a router's API. */
export async function openDocuments(port: number, path: string): Promise<{ status: number; documents: JsonDocuments }> {
  return await new Promise((resolve, reject) => {
    get({ port, path, agent: false, headers: { host: `localhost:${port}` } }, response =>
      resolve({ status: response.statusCode ?? 0, documents: new JsonDocuments(response) }),
    ).on('error', reject)
  })
}
