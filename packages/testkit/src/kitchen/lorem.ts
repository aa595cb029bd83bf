const SENTENCES =
  'Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore ' +
  'magna aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo ' +
  'consequat. Duis aute irure dolor in reprehenderit in voluptate velit esse cillum dolore eu fugiat nulla ' +
  'pariatur. Excepteur sint occaecat cupidatat non proident, sunt in culpa qui officia deserunt mollit anim id est ' +
  'laborum. '

/** Length of one round of the text. */
export const LOREM_BYTES: number = SENTENCES.length

const ROUNDS_PER_BLOCK = 128

/** The first `bytes` bytes of an endless lorem ipsum, in pieces that share one block of memory. */
export function* lorem(bytes: number): Generator<Buffer> {
  const block = Buffer.from(SENTENCES.repeat(Math.min(ROUNDS_PER_BLOCK, Math.ceil(bytes / LOREM_BYTES))), 'latin1')
  for (let left = bytes; left > 0; left -= block.length) yield left < block.length ? block.subarray(0, left) : block
}
