import { createHash } from 'node:crypto'
import type { Test } from 'tap'
import type { NodeId } from '../../../src/index.ts'
import { IDS, interrupted, Life } from './crash-life.ts'
import type { FaultDisk } from './fault-disk.ts'

/** What may be left of the last record: its first byte, all but the first or last of its head, and around its payload. */
const tornLengths = (bytes: number): number[] =>
  [1, 8, 9, 10, bytes >> 1, bytes - 1].filter((length, at, all) => length < bytes && all.indexOf(length) === at)

/** One way in which the power comes back after a crash. */
interface Aftermath {
  readonly story: string
  readonly disks: ReadonlyMap<NodeId, FaultDisk>
}

/**
 * Every way: each unsynced write and each change of a name, on each of the disks, has survived or not; and of the record
 * that was written last to a file only a part.
 */
function* aftermaths({ cluster }: Life): Generator<Aftermath> {
  const disks = IDS.map(id => ({ id, disk: cluster.member(id).disk, writes: cluster.member(id).disk.unsynced() }))
  const offsets = disks.map((_, at) => disks.slice(0, at).reduce((sum, { writes }) => sum + writes.length, 0))
  const count = disks.reduce((sum, { writes }) => sum + writes.length, 0)
  const lose = (subset: number, torn: { node: NodeId; at: number; bytes: number } | undefined): Aftermath => {
    const after = disks.map(({ id, disk }, at) => {
      const survives = (write: number): boolean => ((subset >> (offsets[at]! + write)) & 1) === 1
      const bytesOf = (write: number): number | undefined =>
        torn?.node === id && torn.at === write ? torn.bytes : undefined
      return [id, disk.afterPowerLoss(survives, bytesOf)] as const
    })
    const tearing = torn === undefined ? '' : `, write ${torn.at} of node ${torn.node} torn after ${torn.bytes} bytes`
    return { story: `survivors ${subset.toString(2).padStart(count, '0')}${tearing}`, disks: new Map(after) }
  }
  for (let subset = 0; subset < 2 ** count; subset++) {
    yield lose(subset, undefined)
    for (const [at, { id, writes }] of disks.entries()) {
      for (const [index, write] of writes.entries()) {
        if (write.kind === 'name' || !write.isLast || ((subset >> (offsets[at]! + index)) & 1) === 0) continue
        for (const bytes of tornLengths(write.bytes)) yield lose(subset, { node: id, at: index, bytes })
      }
    }
  }
}

/**
 * The calls are shared out over so many files, which run at the same time. Each takes calls that follow one another:
 * what a power failure leaves behind at one is mostly the same as at the next, and is looked at once in a file.
 */
const FIRST_CALLS = [1, 105, 150] as const

/** Fails the power at every call to the disks of this part, in every way. */
export function createCrashAftermaths(t: Test, part: number): void {
  t.test(`whatever call the power fails at and whatever survives, nothing is lost (part ${part})`, async t => {
    const seen = new Set<string>()
    let ways = 0
    const last = (FIRST_CALLS[part] ?? Number.POSITIVE_INFINITY) - 1
    let k: number = FIRST_CALLS[part - 1] ?? 0
    for (; k <= last; k++) {
      const life = new Life()
      if (!(await interrupted(life, k, () => life.script()))) break
      const { memory } = life
      for (const { story, disks } of aftermaths(life)) {
        ways++
        // Other survivors, or another call, may have come to the same bytes on all disks and the same promises.
        const state = createHash('sha256').update(memory)
        for (const disk of disks.values()) state.update(disk.content).update('|')
        const digest = state.digest('base64')
        if (seen.has(digest)) continue
        seen.add(digest)
        await life.after(disks).verify(t, `power fails at call ${k}, ${story}`)
      }
    }
    t.comment(`up to call ${k - 1}: ${ways} aftermaths, ${seen.size} of them different`)
    t.ok(ways > 3000, `${ways} aftermaths`)
    t.ok(k === last + 1 || (part === FIRST_CALLS.length && k > 200), `up to call ${k - 1}`)
  })
}
