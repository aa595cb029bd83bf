import { readFile, stat } from 'node:fs/promises'
import { WaiterError } from '@waiter/base'

/** Certificates are small; something else under their name must not fill the memory. */
const FILE_BYTES_MAX = 1024 * 1024

/** @throws WaiterError WTR_CERTIFICATE naming the file and why it cannot be read */
export async function readPem(file: string): Promise<string> {
  try {
    const { size } = await stat(file)
    if (size > FILE_BYTES_MAX) throw new Error(`larger than ${FILE_BYTES_MAX} bytes`)
    return await readFile(file, 'latin1')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new WaiterError(`cannot read ${file} (${code ?? message})`, { code: 'WTR_CERTIFICATE' })
  }
}
