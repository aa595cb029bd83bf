import { WaiterError } from '@waiter/base'
import type { Endpoints } from './contract/endpoint.ts'

/** A tray with a bell: small enough to live here. */
const ICON =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path fill="#2b6cb0" d="M16 6a2 2 0 0 1 1 3.7A11 11 0 0 1 27 20H5A11 11 0 0 1 15 9.7 2 2 0 0 1 16 6z"/><path fill="#2d3748" d="M3 22h26v3H3z"/></svg>'

const IMAGES: ReadonlyMap<string, string> = new Map([['waiter.svg', ICON]])

const HEADERS = { 'content-type': 'image/svg+xml', 'cache-control': 'public,max-age=600' }

/** `/favicon.ico` and `/images/:name` (spec §4.1). */
export function addStaticRoutes(endpoints: Endpoints): void {
  const answers = { 200: { description: 'The image.', media: ['image/svg+xml'] } }
  endpoints.add(
    { method: 'get', path: '/favicon.ico', summary: 'Icon', tag: 'pages', access: 'public', answers },
    ({ call }) => call.body(ICON, 200, HEADERS),
  )
  endpoints.add(
    { method: 'get', path: '/images/:name', summary: 'Images of pages', tag: 'pages', access: 'public', answers },
    ({ call, param }) => {
      const image = IMAGES.get(param('name'))
      if (image === undefined) throw new WaiterError('Not found', { code: 'WTR_NO_SUCH_IMAGE', status: 404 })
      return call.body(image, 200, HEADERS)
    },
  )
}
