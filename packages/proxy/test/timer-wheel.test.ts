import { createPrng } from '@waiter/base'
import t from 'tap'
import { TimerWheel, WheelTimer } from '../src/timer-wheel.ts'
import { FakeClock } from './support/fake-clock.ts'

t.test('a timer fires once, never early and at most two ticks late', async t => {
  for (const delayMs of [0, 1, 99, 100, 101, 5_000, 102_400, 250_000]) {
    const clock = new FakeClock()
    const wheel = new TimerWheel(clock)
    clock.advance(50)
    const startedAtMs = clock.nowMs()
    const firedAtMs: number[] = []
    new WheelTimer(wheel, () => firedAtMs.push(clock.nowMs() - startedAtMs)).arm(delayMs)
    clock.advance(delayMs + 200_000)
    t.equal(firedAtMs.length, 1, `${delayMs} ms`)
    t.ok(firedAtMs[0]! >= delayMs && firedAtMs[0]! <= delayMs + 200, `after ${firedAtMs[0]} ms`)
    t.equal(wheel.size, 0)
  }
})

t.test('re-arming moves the deadline either way; disarming and releasing stop it', async t => {
  const clock = new FakeClock()
  const wheel = new TimerWheel(clock)
  const fired: string[] = []
  const timer = (name: string): WheelTimer => new WheelTimer(wheel, () => fired.push(name))
  const later = timer('later')
  const sooner = timer('sooner')
  const disarmed = timer('disarmed')
  const released = timer('released')
  later.arm(1_000)
  later.arm(5_000)
  sooner.arm(5_000)
  sooner.arm(1_000)
  disarmed.arm(1_000)
  disarmed.disarm()
  released.arm(1_000)
  released.release()
  clock.advance(2_000)
  t.same(fired, ['sooner'])
  clock.advance(5_000)
  t.same(fired, ['sooner', 'later'])
  t.equal(wheel.size, 0)
})

t.test('callbacks may arm, release and fire neighbours of the same slot', async t => {
  const clock = new FakeClock()
  const wheel = new TimerWheel(clock)
  const fired: string[] = []
  const victim = new WheelTimer(wheel, () => fired.push('victim'))
  const again = new WheelTimer(wheel, () => {
    fired.push('again')
    if (fired.length < 5) again.arm(100)
  })
  const killer = new WheelTimer(wheel, () => {
    fired.push('killer')
    victim.release()
  })
  victim.arm(500)
  again.arm(500)
  killer.arm(500)
  clock.advance(5_000)
  t.ok(fired.includes('killer'))
  t.notOk(fired.includes('victim') && fired.indexOf('victim') > fired.indexOf('killer'))
  t.ok(fired.filter(name => name === 'again').length >= 3)
  t.equal(wheel.size, 0)
})

t.test('a process that slept long wakes up and fires everything once', async t => {
  let nowMs = 0
  const wheel = new TimerWheel({ nowMs: () => nowMs, every: () => () => undefined })
  let fired = 0
  for (let i = 0; i < 100; i++) new WheelTimer(wheel, () => fired++).arm(i * 1_000)
  nowMs = 3_600_000
  wheel.advance()
  t.equal(fired, 100)
})

t.test('random arming and disarming agrees with a plain list of deadlines', async t => {
  const wrong: string[] = []
  for (let seed = 1; seed <= 20; seed++) {
    const prng = createPrng(seed)
    const clock = new FakeClock()
    const wheel = new TimerWheel(clock)
    const deadlines = new Array<number>(20).fill(Number.POSITIVE_INFINITY)
    const timers = deadlines.map(
      (_, index) =>
        new WheelTimer(wheel, () => {
          const lateMs = clock.nowMs() - deadlines[index]!
          if (!(lateMs >= 0 && lateMs <= 200)) wrong.push(`seed ${seed}: fired ${lateMs} ms after its deadline`)
          deadlines[index] = Number.POSITIVE_INFINITY
        }),
    )
    for (let step = 0; step < 500; step++) {
      const index = prng.below(20)
      const action = prng.below(4)
      if (action === 0) {
        timers[index]!.disarm()
        deadlines[index] = Number.POSITIVE_INFINITY
      } else if (action === 1) {
        clock.advance(prng.below(3_000))
      } else {
        const delayMs = prng.below(prng.below(10) === 0 ? 300_000 : 4_000)
        timers[index]!.arm(delayMs)
        deadlines[index] = clock.nowMs() + delayMs
      }
      const overdue = deadlines.filter(deadline => clock.nowMs() - deadline > 200)
      for (const deadline of overdue) wrong.push(`seed ${seed}: overdue for ${clock.nowMs() - deadline} ms`)
    }
  }
  t.same(wrong, [], 'every timer fires in time')
})

t.test('while nothing is armed it does not tick, and what is armed then fires in time', async t => {
  const clock = new FakeClock()
  let running = 0
  const wheel = new TimerWheel({
    nowMs: () => clock.nowMs(),
    every: (periodMs, tick) => {
      const end = clock.every(periodMs, tick)
      running += 1
      return () => {
        running -= 1
        end()
      }
    },
  })
  t.equal(running, 0)
  for (const delayMs of [1, 100, 5_000]) {
    clock.advance(123_456)
    const startedAtMs = clock.nowMs()
    let firedAfterMs = -1
    new WheelTimer(wheel, () => (firedAfterMs = clock.nowMs() - startedAtMs)).arm(delayMs)
    t.equal(running, 1)
    clock.advance(10_000)
    t.ok(firedAfterMs >= delayMs && firedAfterMs <= delayMs + 200, `after ${firedAfterMs} ms`)
    t.equal(running, 0, 'and rests again')
  }
  wheel.stop()
  new WheelTimer(wheel, () => undefined).arm(1)
  t.equal(running, 0, 'stopped for good')
})
