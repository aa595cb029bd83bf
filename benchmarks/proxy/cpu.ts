import { readdirSync, readFileSync } from 'node:fs'

/** What `/proc` counts in: USER_HZ, 100 on every Linux that Node runs on. */
const TICK_US = 10_000

/** User and system time of some processes with all their threads, in microseconds. Processes that ended count as 0. */
export function cpuUsOf(pids: readonly number[]): number {
  let ticks = 0
  for (const pid of pids) {
    const stat = read(`/proc/${pid}/stat`)
    // The name in parentheses may contain anything, so fields are counted from its end.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (stat !== '') ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks * TICK_US
}

/**
 * Time that a CPU spent on work of ordinary priority, in microseconds. Processes that made themselves nice do not count:
 * they run when nobody else wants to.
 */
export function busyUsOf(cpu: number): number {
  const line = new RegExp(`^cpu${cpu} (.*)$`, 'm').exec(read('/proc/stat'))?.[1] ?? ''
  const [user = 0, , system = 0, , , irq = 0, softIrq = 0] = line.split(' ').map(Number)
  return (user + system + irq + softIrq) * TICK_US
}

/** Process ids of a process and everything below it. */
export function familyOf(pid: number): number[] {
  const childrenByParent = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = read(`/proc/${name}/stat`)
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
    childrenByParent.set(parent, [...(childrenByParent.get(parent) ?? []), Number(name)])
  }
  const family = [pid]
  for (const member of family) family.push(...(childrenByParent.get(member) ?? []))
  return family
}

/** Empty when the process has gone meanwhile. */
function read(file: string): string {
  try {
    return readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}
