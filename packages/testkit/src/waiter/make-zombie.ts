import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { eventually, waitForLine } from '../wait.ts'

/** A process that has ended and that nobody has asked how: `/proc` still lists it. */
export interface Zombie {
  readonly pid: number
  /** Field 22 of `/proc/PID/stat`. */
  readonly startTime: string
  /** Lets it go. */
  bury(): Promise<void>
}

/** Makes a zombie: its parent becomes a program that does not wait for children. */
export async function makeZombie(): Promise<Zombie> {
  const parent = spawn('/bin/sh', ['-c', 'true & echo $!; exec sleep 300'], { stdio: ['ignore', 'pipe', 'ignore'] })
  const pid = Number((await waitForLine(parent.stdout, /^\d+$/))[0])
  const fields = await eventually(() => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const seen = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return seen[0] === 'Z' ? seen : undefined
  }, 'a zombie')
  return {
    pid,
    startTime: fields[19] as string,
    bury: async () => {
      const gone = once(parent, 'exit')
      parent.kill('SIGKILL')
      await gone
    },
  }
}
