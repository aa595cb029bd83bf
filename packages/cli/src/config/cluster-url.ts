import { err, ok, type Result } from '@waiter/base'

/**
 * The address of a Waiter as people write it: `http://` when there is no scheme. The error goes after the name of what
 * was written, and never repeats it: it may hold a password.
 *
 * @example parseClusterUrl('waiter.example.com:9091/') // { ok: true, value: 'http://waiter.example.com:9091' }
 */
export function parseClusterUrl(text: string): Result<string, string> {
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`
  if (!URL.canParse(full)) return err('is not a URL, such as http://127.0.0.1:9091')
  const url = new URL(full)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return err('must begin with http:// or https://')
  if (url.username !== '' || url.password !== '')
    return err('must not hold a user or password: they belong to http.auth in .waiter.json')
  if (url.search !== '' || url.hash !== '') return err('must end with the path: no ? and no #')
  return ok(url.href.replace(/\/+$/, ''))
}
