type Tree = { readonly [name: string]: unknown }

/**
 * Keeps the metrics whose dotted name contains a text; sections that become empty go.
 *
 * @example keepMatching({ a: { b: 1, c: 2 } }, 'a.b') // { a: { b: 1 } }
 */
export function keepMatching(tree: Tree, text: string): Record<string, unknown> {
  return keep(tree, text, '')
}

function keep(tree: Tree, text: string, prefix: string): Record<string, unknown> {
  const kept: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(tree)) {
    const path = `${prefix}${name}`
    if (path.includes(text)) {
      kept[name] = value
      continue
    }
    if (!isTree(value)) continue
    const inner = keep(value, text, `${path}.`)
    if (Object.keys(inner).length > 0) kept[name] = inner
  }
  return kept
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
