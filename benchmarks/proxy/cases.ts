import type { BenchCase } from './generator.ts'

/** What a browser sends beside the host; about 700 bytes. */
const BROWSER_HEADERS: Readonly<Record<string, string>> = {
  'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36',
  Accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
  'Accept-Language': 'en-GB,en;q=0.9,de;q=0.8',
  'Accept-Encoding': 'gzip, deflate, br, zstd',
  Referer: 'https://www.example.com/search?q=request+level+autoscaling',
  Cookie: 'session=0123456789abcdef0123456789abcdef; theme=dark; consent=all; _ga=GA1.1.1234567890.1234567890',
  'Cache-Control': 'max-age=0',
  'If-None-Match': '"33a64df551425fcc55e4d42a148795d9f25f89d4"',
  'Sec-Fetch-Mode': 'navigate',
}
const CONNECTIONS = [64, 256] as const
const QUICK_CONNECTIONS = [64] as const
const POST_BODY_BYTES = 10 * 1024

/** What is measured, in the order of the table. */
export function listCases(isQuick: boolean): readonly BenchCase[] {
  const counts: readonly number[] = isQuick ? QUICK_CONNECTIONS : CONNECTIONS
  const at = (base: Omit<BenchCase, 'connections'>): BenchCase[] =>
    counts.map(connections => ({ ...base, name: `${base.name} c${connections}`, connections }))
  return [
    ...at({ name: 'GET 100 B', path: '/' }),
    ...at({ name: 'GET 100 B + headers', path: '/some/path?with=query', headers: BROWSER_HEADERS }),
    ...at({ name: 'GET 10 KB', path: '/10k' }),
    ...at({ name: 'GET 1 MB', path: '/1m' }),
    ...at({ name: 'POST 10 KB', path: '/post', bodyBytes: POST_BODY_BYTES }),
  ]
}
