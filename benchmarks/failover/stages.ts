/**
 * What a change of leader is made of, from the log: milliseconds from the kill until
 *
 * - `noticed`: somebody knows that nobody leads;
 * - `elected`: a majority has voted;
 * - `leads`: the next leader has taken the scheduler's directory over and knows what runs;
 * - `attached`: the last router has attached to it;
 * - `asked`: it starts the service that was asked for.
 */
export interface Stages {
  readonly noticed?: number
  readonly elected?: number
  readonly leads?: number
  readonly attached?: number
  readonly asked?: number
}

interface LogLine {
  readonly time: number
  readonly msg: string
  readonly term?: number
  readonly role?: string
}

/** Reads the lines since the kill, at `killedAtMs` of the system's clock. */
export function readStages(log: string, killedAtMs: number, termBefore: number): Stages {
  const lines = parseLines(log).filter(({ time }) => time >= killedAtMs)
  const isNew = ({ term = 0 }: LogLine): boolean => term > termBefore
  const first = (holds: (line: LogLine) => boolean): number | undefined => lines.find(holds)?.time
  const last = (holds: (line: LogLine) => boolean): number | undefined => lines.findLast(holds)?.time
  const changed = lines.filter(({ msg }) => msg === 'the leadership of the control nodes changed')
  const times = {
    noticed: changed[0]?.time,
    elected: changed.find(line => line.role === 'leader' && isNew(line))?.time,
    leads: first(line => line.msg === 'leads' && isNew(line)),
    attached: last(line => line.msg === 'attached to the leader' && isNew(line)),
    asked: first(({ msg }) => msg === 'starting a service: a request asks for it'),
  }
  return Object.fromEntries(
    Object.entries(times).flatMap(([name, time]) => (time === undefined ? [] : [[name, time - killedAtMs]])),
  )
}

/** The log is cut at its beginning, and may be in the middle of a line at its end. */
function parseLines(log: string): LogLine[] {
  return log.split('\n').flatMap(text => {
    if (!text.startsWith('{')) return []
    try {
      const line = JSON.parse(text) as Partial<LogLine> & { time?: unknown }
      const time = typeof line.time === 'string' ? Date.parse(line.time) : Number(line.time)
      return typeof line.msg === 'string' && Number.isFinite(time) ? [{ ...line, msg: line.msg, time }] : []
    } catch {
      return []
    }
  })
}
