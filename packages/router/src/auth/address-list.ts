import { BlockList, isIP } from 'node:net'

/** What is wrong with a list of addresses and networks, in a sentence; undefined: nothing. */
export function findAddressProblem(entries: readonly string[]): string | undefined {
  try {
    createAddressTest(entries)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/**
 * A test for addresses out of a list of addresses and networks (`10.0.0.0/8`, `::1`).
 *
 * @throws RangeError naming the entry that is neither
 */
export function createAddressTest(entries: readonly string[]): (address: string) => boolean {
  const list = new BlockList()
  for (const entry of entries) {
    const [address = '', prefix, ...rest] = entry.split('/')
    const version = isIP(address)
    const bits = version === 6 ? 128 : 32
    const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN
    if (version === 0 || rest.length > 0 || !(length <= bits))
      throw new RangeError(`${JSON.stringify(entry)} is neither an address nor a network such as 10.0.0.0/8`)
    list.addSubnet(address, length, version === 6 ? 'ipv6' : 'ipv4')
  }
  return address => {
    // An IPv4 client of a socket that listens on both kinds.
    const plain = address.startsWith('::ffff:') && isIP(address.slice(7)) === 4 ? address.slice(7) : address
    const version = isIP(plain)
    return version !== 0 && list.check(plain, version === 6 ? 'ipv6' : 'ipv4')
  }
}
