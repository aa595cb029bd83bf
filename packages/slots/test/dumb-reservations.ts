import type { AssignedInstance, EjectionConfig, LoadBalancing, ReleaseStatus } from '@waiter/slots'

interface DumbInstance {
  id: string
  slots: number
  startedAtMs: number
  expired: boolean
  retired: boolean
  inUse: number
  failures: number
  suspicions: number
  refusals: number
  suspectedUntil: number
  definiteUntil: number
}

interface DumbWaiter {
  name: number
  deadlineMs: number
  priority: number
  arrival: number
}

/** The reservation machine as one would write it without any thought of speed: scan everything, every time. */
export class DumbReservations {
  instances: DumbInstance[] = []
  queue: DumbWaiter[] = []
  answers: string[] = []
  failed = false
  arrivals = 0
  nowMs = Number.NEGATIVE_INFINITY
  loadBalancing: Exclude<LoadBalancing, 'random'>
  ejection: EjectionConfig
  maxQueueLength: number

  constructor(loadBalancing: Exclude<LoadBalancing, 'random'>, ejection: EjectionConfig, maxQueueLength: number) {
    this.loadBalancing = loadBalancing
    this.ejection = ejection
    this.maxQueueLength = maxQueueLength
  }

  assigned(): DumbInstance[] {
    return this.instances.filter(i => !i.retired && i.slots > 0)
  }

  ejected(i: DumbInstance): boolean {
    return i.suspectedUntil > 0 || i.definiteUntil > 0
  }

  usable(): DumbInstance[] {
    const sound = this.assigned().filter(i => !this.ejected(i))
    if (sound.length > 0) return sound
    const floor = this.assigned().filter(i => i.definiteUntil === 0)
    floor.sort((a, b) => a.suspectedUntil - b.suspectedUntil || this.compare(a, b))
    return floor.slice(0, 1)
  }

  compare(a: DumbInstance, b: DumbInstance): number {
    if (a.expired !== b.expired) return a.expired ? 1 : -1
    const age = a.startedAtMs - b.startedAtMs
    if (age !== 0) return a.expired || this.loadBalancing === 'youngest' ? -age : age
    return a.id < b.id ? -1 : 1
  }

  free(): DumbInstance[] {
    const free = this.usable().filter(i => i.inUse < i.slots)
    free.sort((a, b) => this.compare(a, b))
    if (this.loadBalancing !== 'least-loaded') return free
    return free.sort(
      (a, b) => Number(a.expired) - Number(b.expired) || a.inUse * b.slots - b.inUse * a.slots || this.compare(a, b),
    )
  }

  grant(): string | undefined {
    const instance = this.free()[0]
    if (instance !== undefined) instance.inUse++
    return instance?.id
  }

  reserve(nowMs: number): string | undefined {
    if (this.queue.length > 0 || this.failed) return undefined
    const id = this.grant()
    if (id !== undefined) return id
    this.readmit(nowMs)
    return this.grant()
  }

  enqueue(name: number, deadlineMs: number, priority: number): string {
    if (this.failed) return 'service-failure'
    if (this.queue.length >= this.maxQueueLength) return 'queue-full'
    this.queue.push({ name, deadlineMs, priority, arrival: this.arrivals++ })
    this.queue.sort((a, b) => b.priority - a.priority || a.arrival - b.arrival)
    this.serve()
    return 'accepted'
  }

  serve(): void {
    while (this.queue.length > 0) {
      if (this.failed) {
        this.answers.push(`${this.queue.shift()!.name} service-failure`)
        continue
      }
      if (this.free().length === 0) return
      const waiter = this.queue.shift()!
      this.answers.push(`${waiter.name} ${waiter.deadlineMs <= this.nowMs ? 'queue-timeout' : this.grant()}`)
    }
  }

  cancel(name: number): boolean {
    const before = this.queue.length
    this.queue = this.queue.filter(waiter => waiter.name !== name)
    return this.queue.length < before
  }

  update(assignment: readonly AssignedInstance[], nowMs: number): string[] {
    this.nowMs = nowMs
    const idle: string[] = []
    for (const { instanceId, slots, startedAtMs, expired } of assignment) {
      const known = this.instances.find(i => i.id === instanceId)
      const fields = { slots, startedAtMs, expired: expired === true, retired: false }
      if (known !== undefined) Object.assign(known, fields)
      else {
        this.instances.push({
          ...{ id: instanceId, inUse: 0, failures: 0, suspicions: 0, refusals: 0, suspectedUntil: 0, definiteUntil: 0 },
          ...fields,
        })
      }
    }
    for (const i of this.instances) {
      if (assignment.some(({ instanceId }) => instanceId === i.id)) continue
      if (!i.retired && i.inUse === 0) idle.push(i.id)
      i.retired = true
    }
    this.readmit(nowMs)
    if (this.assigned().length > 0) this.failed = false
    this.forget()
    this.serve()
    return idle
  }

  forget(): void {
    this.instances = this.instances.filter(i => !i.retired || i.inUse > 0 || this.ejected(i))
  }

  readmit(nowMs: number): void {
    for (const i of this.instances) {
      if (i.suspectedUntil <= nowMs) i.suspectedUntil = 0
      if (i.definiteUntil <= nowMs) i.definiteUntil = 0
    }
    this.forget()
  }

  release(id: string, status: ReleaseStatus, nowMs: number): boolean {
    this.nowMs = nowMs
    const i = this.instances.find(instance => instance.id === id)!
    const { baseMs, maxMs, connectBaseMs, connectMaxMs } = this.ejection
    if (status === 'connect-failed') {
      i.failures++
      if (i.definiteUntil === 0) i.definiteUntil = nowMs + Math.min(connectMaxMs, connectBaseMs * 2 ** i.refusals++)
    } else if (status === 'instance-error' || status === 'instance-busy') {
      i.failures++
      if (!this.ejected(i) || this.usable().includes(i)) {
        const until = nowMs + Math.min(maxMs, baseMs * 2 ** Math.min(4, i.suspicions++))
        i.suspectedUntil = Math.max(i.suspectedUntil, until)
      }
    } else if (status !== 'unused' && (i.failures > 0 || i.suspectedUntil > 0)) {
      Object.assign(i, { failures: 0, suspicions: 0, refusals: 0, suspectedUntil: 0 })
    }
    if (status === 'success-async') {
      return false
    }
    i.inUse--
    const isLast = i.retired && i.inUse === 0
    this.forget()
    this.serve()
    return isLast
  }

  expire(nowMs: number): void {
    this.nowMs = nowMs
    this.readmit(nowMs)
    this.serve()
    const due = this.queue.filter(waiter => waiter.deadlineMs <= nowMs)
    due.sort((a, b) => a.deadlineMs - b.deadlineMs || a.arrival - b.arrival)
    for (const waiter of due) this.answers.push(`${waiter.name} queue-timeout`)
    this.queue = this.queue.filter(waiter => waiter.deadlineMs > nowMs)
  }

  fail(): void {
    this.failed = true
    this.serve()
  }

  eject(id: string, nowMs: number, untilMs: number): boolean {
    const i = this.instances.find(instance => instance.id === id)
    if (i === undefined) return false
    this.nowMs = nowMs
    i.suspectedUntil = Math.max(i.suspectedUntil, untilMs)
    this.serve()
    return true
  }

  earliestWakeMs(): number {
    const ends = this.instances.flatMap(i => [i.suspectedUntil, i.definiteUntil]).filter(end => end > 0)
    return Math.min(...ends, ...this.queue.map(waiter => waiter.deadlineMs))
  }
}
