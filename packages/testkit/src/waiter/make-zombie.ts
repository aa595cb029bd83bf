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

/** Makes a zombie: its parent becomes a program that does not wait for children before the child ends. */
export async function makeZombie(): Promise<Zombie> {
  const parent = spawn('/bin/sh', ['-c', 'sleep 300 & echo $!; exec sleep 300'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const bury = async (): Promise<void> => {
    const gone = once(parent, 'exit')
    if (parent.kill('SIGKILL')) await gone
  }
  let pid = 0
  try {
    pid = Number((await waitForLine(parent.stdout, /^\d+$/))[0])
    const isSleep = (one: number): boolean => readFileSync(`/proc/${one}/comm`, 'utf8') === 'sleep\n'
    await eventually(() => isSleep(parent.pid as number) || undefined, 'the parent to become another program')
    process.kill(pid, 'SIGKILL')
    const startTime = await eventually(() => {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return fields[0] === 'Z' ? fields[19] : undefined
    }, 'a zombie')
    return { pid, startTime, bury }
  } catch (error) {
    if (pid > 0) process.kill(pid, 'SIGKILL')
    await bury()
    throw error
  }
}
