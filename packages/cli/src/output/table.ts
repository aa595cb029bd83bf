import { printableLine } from './printable.ts'

/** Between two columns. */
const GAP = '  '

/** A table of text: columns as wide as their widest cell, no line ends with blanks. */
export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return renderLines([head, ...rows])
}

/** Names and values, one pair a line. */
export function renderFields(fields: readonly (readonly [string, string])[]): string {
  return renderLines(fields)
}

function renderLines(rows: readonly (readonly string[])[]): string {
  const cells = rows.map(row => row.map(printableLine))
  const widths: number[] = []
  for (const row of cells)
    for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, widthOf(cell))
  return cells
    .map(row =>
      row
        .map((cell, index) => cell + ' '.repeat((widths[index] ?? 0) - widthOf(cell)))
        .join(GAP)
        .trimEnd(),
    )
    .join('\n')
}

/** Code points, which is what a terminal shows of nearly all names. */
function widthOf(text: string): number {
  return [...text].length
}
