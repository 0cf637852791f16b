/** Serves one page, for machines without Python. Knows nothing of Haus. */
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'

const [port, folder = '.'] = process.argv.slice(2)
const page = fs.readFileSync(path.join(folder, 'index.html'))
http
  .createServer((_request, response) => response.setHeader('content-type', 'text/html').end(page))
  .listen(Number(port), '127.0.0.1')
