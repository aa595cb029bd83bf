/** More control nodes than a cluster has, so that the addresses of restarted ones leave nothing behind. */
const CLIENTS_MAX = 16

/** One client for each control node that is called; the longest known goes first when there are too many. */
export class ClientPool<Client extends { close(): void }> {
  readonly #clients = new Map<string, Client>()
  readonly #create: (address: string) => Client

  constructor(create: (address: string) => Client) {
    this.#create = create
  }

  get(address: string): Client {
    const known = this.#clients.get(address)
    if (known !== undefined) return known
    const client = this.#create(address)
    this.#clients.set(address, client)
    const [oldest] = this.#clients.keys()
    if (this.#clients.size > CLIENTS_MAX && oldest !== undefined) {
      this.#clients.get(oldest)?.close()
      this.#clients.delete(oldest)
    }
    return client
  }

  close(): void {
    for (const client of this.#clients.values()) client.close()
    this.#clients.clear()
  }
}
