import { printable } from './printable.ts'

/** How a command's result is printed. */
export type Format = 'text' | 'json' | 'yaml'

/** A result for programs. What could steer a terminal is escaped as both formats know it. */
export async function renderData(data: unknown, format: 'json' | 'yaml'): Promise<string> {
  if (format === 'json') return printable(JSON.stringify(data, null, 2))
  // Loaded only when wanted: it takes longer than most commands.
  const { Document, visit } = await import('yaml')
  const document = new Document(data, { aliasDuplicateObjects: false })
  visit(document, {
    Scalar: (_, scalar) => {
      // Only double quotes know `\u009b`.
      if (typeof scalar.value === 'string' && printable(scalar.value) !== scalar.value) scalar.type = 'QUOTE_DOUBLE'
    },
  })
  return printable(document.toString({ lineWidth: 0 })).trimEnd()
}

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
] as const

/** How long ago an ISO time was, in its largest unit; the time itself when it lies ahead; `never` for none. */
export function renderAge(isoTime: string, nowMs: number): string {
  if (isoTime === '') return 'never'
  const seconds = Math.floor((nowMs - Date.parse(isoTime)) / 1000)
  if (Number.isNaN(seconds) || seconds < -1) return isoTime
  const [unit, size] = UNITS.find(([, length]) => seconds >= length) ?? UNITS[3]
  return `${Math.max(0, Math.floor(seconds / size))} ${unit} ago`
}

/** `1 service`, `2 services`. */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
