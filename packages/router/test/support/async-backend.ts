import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What the backend says at one path. */
interface Page {
  readonly status: number
  readonly location?: string
  readonly body?: string
}

/** A backend that says what the test wants, path by path, and remembers what it was asked. */
export class AsyncBackend {
  readonly pages = new Map<string, Page>()
  readonly asked: { readonly method: string; readonly url: string; readonly headers: IncomingMessage['headers'] }[] = []
  readonly #server = createServer((request, response) => {
    const { method = '', url = '', headers } = request
    this.asked.push({ method, url, headers })
    const path = url.replace(/\?.*/, '')
    const { status, location, body = path } = this.pages.get(`${method} ${path}`) ?? this.pages.get(path) ?? GONE
    request.resume()
    response.writeHead(status, location === undefined ? {} : { location })
    response.end(body)
  })

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  async start(t: { teardown(callback: () => void): void }): Promise<this> {
    await new Promise<void>(resolve => this.#server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => this.stop())
    return this
  }

  stop(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}

const GONE: Page = { status: 404 }
