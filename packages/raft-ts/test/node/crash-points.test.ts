import { createPrng } from '@waiter/base'
import t from 'tap'
import { interrupted, type Judge, Life } from './support/crash-life.ts'
import type { Loss } from './support/fault-disk.ts'

async function countCalls(): Promise<{ readonly calls: number; readonly atStart: number }> {
  const life = new Life()
  let calls = 0
  life.onCall(call => {
    calls = call
  })
  await life.script()
  await life.cluster.stopAll()
  return { calls, atStart: life.callsAtStart }
}

// The power of all fails at call k, and perhaps once more while they restart.
async function powerFailsAt(t: Judge, k: number, loss: Loss, again: number): Promise<boolean> {
  const life = new Life()
  const random = createPrng(k * 7 + again)
  const reached = await interrupted(life, k, () => life.script())
  if (!reached) return false
  life.powerBack(loss, random)
  if (again > 0 && (await interrupted(life, again, () => life.startMissing()))) life.powerBack(loss, random)
  life.onCall(() => undefined)
  await life.verify(t, `power fails at call ${k}, ${loss}, again ${again}`)
  return true
}

// Only the process that makes call k dies; the others live on, and it comes back by itself.
async function nodeDiesAt(t: Judge, k: number, loss: Loss): Promise<void> {
  const life = new Life()
  const random = createPrng(k)
  life.onCall((call, id) => {
    if (call !== k) return
    life.cluster.crash(id)
    life.cluster.member(id).disk.restart(loss, random)
  })
  await life.script()
  await life.verify(t, `a node dies at call ${k}, ${loss}`)
}

const LOSSES: readonly Loss[] = ['everything unsynced is lost', 'any part is lost', 'nothing is lost']

t.test('D2 D6 the power fails again while they come back', async t => {
  const { calls } = await countCalls()
  for (let k = 1; k <= calls; k += 3) await powerFailsAt(t, k, 'any part is lost', 1 + (k % 7))
  t.ok(calls > 50, `${calls} places`)
})

t.test('D2 D6 whatever call one node dies at, it comes back, agrees and has lost nothing', async t => {
  const { calls, atStart } = await countCalls()
  // Before that there is nobody to live on.
  for (let k = atStart + 1; k <= calls; k++) await nodeDiesAt(t, k, LOSSES[k % LOSSES.length]!)
  t.ok(calls > atStart + 50, `${calls} places`)
})
