import type { Test } from 'tap'
import { crc32c, EMPTY_CONF, type Message, type MsgSnap, NO_DATA, type SnapshotChunk } from '../../../src/index.ts'
import type { Transport, TransportHandler } from '../../../src/node/index.ts'

/** Transports of nodes 1 and 2 that know each other. */
export interface TransportsUnderTest {
  readonly first: Transport
  readonly second: Transport
  /** Makes node 2's transport again, at the same address. */
  restartSecond(): Promise<Transport>
}

/** A handler that keeps what it is told and wakes whoever waits for it. */
export class Inbox implements TransportHandler {
  readonly messages: Message[] = []
  readonly unreachable: number[] = []
  readonly gone: number[] = []
  readonly snapshots: { readonly message: MsgSnap; readonly bytes: Buffer }[] = []
  refusesWith: string | undefined
  #wake: (() => void) | undefined

  onMessages(messages: readonly Message[]): void {
    this.messages.push(...messages)
    this.#wake?.()
  }

  onUnreachable(peer: number): void {
    this.unreachable.push(peer)
    this.#wake?.()
  }

  onGone(peer: number): void {
    this.gone.push(peer)
    this.#wake?.()
  }

  async onSnapshot(message: MsgSnap, chunks: AsyncIterable<SnapshotChunk>): Promise<void> {
    if (this.refusesWith !== undefined) throw new Error(this.refusesWith)
    const pieces: Uint8Array[] = []
    for await (const { bytes, offset } of chunks) {
      if (offset !== Buffer.concat(pieces).length) throw new Error('out of order')
      pieces.push(bytes)
    }
    this.snapshots.push({ message, bytes: Buffer.concat(pieces) })
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>(resolve => (this.#wake = resolve))
  }
}

const beat = (commit: number, from = 1, to = 2): Message => ({
  type: 'MsgHeartbeat',
  from,
  to,
  term: 1,
  commit,
  readRound: 0,
})

const bigAppend = (index: number, bytes: number): Message => ({
  type: 'MsgApp',
  from: 1,
  to: 2,
  term: 1,
  index,
  logTerm: 1,
  commit: 0,
  entries: [{ kind: 'normal', index: index + 1, term: 1, data: new Uint8Array(bytes) }],
})

const snapshotMessage: MsgSnap = {
  type: 'MsgSnap',
  from: 1,
  to: 2,
  term: 3,
  snapshot: { index: 7, term: 2, conf: { ...EMPTY_CONF, voters: [1, 2] }, data: NO_DATA },
}

async function* chunksOf(content: Buffer, size: number): AsyncGenerator<SnapshotChunk> {
  for (let offset = 0; offset < content.length; offset += size) {
    const bytes = content.subarray(offset, offset + size)
    yield { offset, bytes, crc32c: crc32c(bytes), totalBytes: content.length }
  }
}

const patient = (): AbortSignal => new AbortController().signal

/** What every `Transport` must do. Called by the test of each implementation. */
export function createTransportContract(t: Test, name: string, create: () => Promise<TransportsUnderTest>): void {
  const start = async (t: Test) => {
    const under = await create()
    const inboxes = [new Inbox(), new Inbox()] as const
    await under.first.start(inboxes[0])
    await under.second.start(inboxes[1])
    t.teardown(() => Promise.all([under.first.stop(), under.second.stop()]))
    return { ...under, here: inboxes[0], there: inboxes[1] }
  }

  t.test(`${name}: messages arrive in order, both ways`, async t => {
    const { first, second, here, there } = await start(t)
    for (let commit = 0; commit < 300; commit += 3) first.send([beat(commit), beat(commit + 1), beat(commit + 2)])
    second.send([beat(1, 2, 1)])
    await there.until(() => there.messages.length >= 300)
    t.same(
      there.messages.map(message => message.type === 'MsgHeartbeat' && message.commit),
      Array.from({ length: 300 }, (_, at) => at),
    )
    await here.until(() => here.messages.length > 0)
    t.same(here.messages, [beat(1, 2, 1)])
  })

  t.test(`${name}: a peer nobody knows is reported at once`, async t => {
    const { first, here } = await start(t)
    first.send([beat(0, 1, 9)])
    await here.until(() => here.unreachable.includes(9))
    t.same(here.unreachable, [9], 'told')
  })

  t.test(`${name}: a full queue drops and reports instead of growing`, async t => {
    const { first, here } = await start(t)
    for (let index = 0; index < 400; index++) first.send([bigAppend(index, 256 * 1024)])
    t.ok(here.unreachable.includes(2), 'told before anything could have been sent')
  })

  t.test(`${name}: a peer that goes is reported, and heard again when it comes back`, async t => {
    const { first, second, here, there, restartSecond } = await start(t)
    first.send([beat(1)])
    await there.until(() => there.messages.length === 1)
    await second.stop()
    await here.until(() => here.unreachable.includes(2))
    const again = await restartSecond()
    const inbox = new Inbox()
    await again.start(inbox)
    t.teardown(() => again.stop())
    let isHeard = false
    const heard = inbox.until(() => inbox.messages.length > 0).then(() => (isHeard = true))
    // Whoever is unreachable is tried again: the protocol's own heartbeats do that.
    while (!isHeard) {
      first.send([beat(2)])
      await new Promise<void>(resolve => setImmediate(resolve))
    }
    await heard
    t.same(inbox.messages[0], beat(2))
  })

  t.test(`${name}: a snapshot arrives whole, while messages pass it by`, async t => {
    const { first, there } = await start(t)
    const content = Buffer.alloc(3_000_001, 'snapshot ')
    const sending = first.sendSnapshot(snapshotMessage, chunksOf(content, 100_000), patient())
    first.send([beat(1)])
    await sending
    t.same(there.snapshots[0]?.message, snapshotMessage)
    t.ok(there.snapshots[0]?.bytes.equals(content))
    await there.until(() => there.messages.length === 1)
  })

  t.test(`${name}: a refused snapshot says why`, async t => {
    const { first, there } = await start(t)
    there.refusesWith = 'the disk is full'
    await t.rejects(first.sendSnapshot(snapshotMessage, chunksOf(Buffer.alloc(10), 5), patient()), {
      code: 'RAFT_SNAPSHOT_FAILED',
      message: /the disk is full/,
    })
  })

  t.test(`${name}: a snapshot is given up on demand, and fails when the peer is gone`, async t => {
    const { first, second } = await start(t)
    const abort = new AbortController()
    const endless = async function* (): AsyncGenerator<SnapshotChunk> {
      for (let offset = 0; ; offset += 1000) {
        if (offset === 50_000) abort.abort(new Error('enough'))
        yield { offset, bytes: Buffer.alloc(1000), crc32c: 0, totalBytes: 1e9 }
        await new Promise<void>(resolve => setImmediate(resolve))
      }
    }
    await t.rejects(first.sendSnapshot(snapshotMessage, endless(), abort.signal))
    await second.stop()
    await t.rejects(first.sendSnapshot(snapshotMessage, chunksOf(Buffer.alloc(10), 5), patient()))
  })
}
