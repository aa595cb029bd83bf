import { WaiterError } from '@waiter/base'
import type { EngineContext } from '../engine-context.ts'
import { HeaderField } from '../h2/index.ts'
import { isEngineField } from '../own-response.ts'
import { statusField } from '../relay/fields.ts'

/**
 * The head of an answer of our own.
 *
 * @throws {WaiterError} WTR_BAD_HEADER on a field that belongs to the engine; one that HTTP/2 cannot carry is refused
 * when it is sent
 */
export function renderOwnFields(
  context: EngineContext,
  { status, headers }: { status: number; headers: readonly (readonly [name: string, value: string])[] },
): HeaderField[] {
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new WaiterError(`${status} is no final HTTP status`, { code: 'WTR_BAD_HEADER' })
  }
  const fields = [statusField(status), new HeaderField('date', context.httpDate())]
  for (const [name, value] of headers) {
    const lowerName = name.toLowerCase()
    if (isEngineField(lowerName)) {
      throw new WaiterError(`the field ${name} is set by the proxy engine`, { code: 'WTR_BAD_HEADER' })
    }
    fields.push(new HeaderField(lowerName, value))
  }
  return fields
}
