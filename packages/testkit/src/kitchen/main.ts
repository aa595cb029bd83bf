/** The test backend as a program: `node packages/testkit/src/kitchen/main.ts --port $PORT0`. */
const nodeModule = process.getBuiltinModule('node:module')
// Spares every later start the reading of the types; `kitchenCommand` spares it for this file too.
nodeModule.enableCompileCache()

try {
  // Not static: they would be loaded before the cache is on.
  const [{ createKitchen }, { parseKitchenFlags }] = await Promise.all([import('./kitchen.ts'), import('./options.ts')])
  const kitchen = createKitchen(parseKitchenFlags(process.argv.slice(2)))
  const url = await kitchen.listen()
  process.stdout.write(`kitchen is listening on ${url}\n`)
  // Node would write the cache when it exits, but kitchens are killed.
  nodeModule.flushCompileCache()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
}

export {}
