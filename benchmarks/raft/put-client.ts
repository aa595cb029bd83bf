import { Client, credentials } from '@grpc/grpc-js'
import { decodeStatus, encodePut } from './etcd-protocol.ts'

const asIs = (bytes: Buffer): Buffer => bytes

/** A put that has not come back by then counts as failed. */
const PUT_MS_MAX = 10_000

/** A client of etcd's gRPC API over one connection. */
export class PutClient {
  readonly #client: Client

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.initial_reconnect_backoff_ms': 20,
      'grpc.max_reconnect_backoff_ms': 50,
    })
  }

  async put(key: string, value: string): Promise<void> {
    await this.#call('/etcdserverpb.KV/Put', encodePut(key, value))
  }

  /** True when this member leads. */
  async isLeader(): Promise<boolean> {
    const { member, leader } = decodeStatus(await this.#call('/etcdserverpb.Maintenance/Status', Buffer.alloc(0)))
    return leader !== 0n && member === leader
  }

  close(): void {
    this.#client.close()
  }

  #call(path: string, request: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        asIs,
        asIs,
        request,
        { deadline: Date.now() + PUT_MS_MAX },
        (error, answer) => (error === null ? resolve(answer ?? Buffer.alloc(0)) : reject(error)),
      )
    })
  }
}
