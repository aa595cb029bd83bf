const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/

/**
 * What is wrong with an address of an identity provider, in a sentence; undefined: nothing. Keys and codes over plain
 * http could be anybody's.
 */
export function findEndpointProblem(text: string): string | undefined {
  if (!URL.canParse(text)) return 'not an address such as https://login.example.com/keys'
  const { protocol, hostname, username, password, hash } = new URL(text)
  if (username !== '' || password !== '') return 'credentials do not belong into an address'
  if (hash !== '') return 'an address of an identity provider has no part behind #'
  if (protocol === 'https:' || (protocol === 'http:' && LOOPBACK.test(hostname))) return undefined
  return 'it must begin with https:// (http:// is for this machine only)'
}
