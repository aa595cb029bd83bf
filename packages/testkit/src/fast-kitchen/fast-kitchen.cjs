// The same as fast-kitchen.pl where there is neither Perl nor Python. CommonJS and JavaScript on purpose: it starts
// twice as fast as a typed module. Usage: node fast-kitchen.cjs PORT
const HEAD_BYTES_MAX = 65536

const server = require('node:net').createServer({ noDelay: true }, socket => {
  let held = ''
  let owedBytes = 0
  socket.setEncoding('latin1')
  socket.on('error', () => socket.destroy())
  socket.on('data', chunk => {
    held += chunk
    for (;;) {
      const eaten = Math.min(held.length, owedBytes)
      held = held.slice(eaten)
      owedBytes -= eaten
      const end = held.indexOf('\r\n\r\n')
      if (owedBytes > 0 || end < 0) break
      const head = held.slice(0, end + 2)
      held = held.slice(end + 4)
      owedBytes = Number(/^content-length:\s*(\d+)/im.exec(head)?.[1] ?? 0)
      const isLast = /^connection:\s*close|^transfer-encoding:|^\S+ \S+ HTTP\/1\.0/im.test(head)
      const body = head.startsWith('HEAD ') ? '' : 'Hello World'
      const connection = isLast ? 'connection: close\r\n' : ''
      socket.write(`HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 11\r\n${connection}\r\n${body}`)
      if (isLast) return socket.end()
    }
    if (held.length > HEAD_BYTES_MAX) socket.destroy()
  })
})
server.listen(Number(process.argv[2]))
