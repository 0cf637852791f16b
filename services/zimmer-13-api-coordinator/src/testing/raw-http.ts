/** Bytes to a listener and back, for what no HTTP client would send. */
import { connect } from 'node:net'

export interface RawAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Sends `bytes`, waits until the peer closes or answers once in full, and parses what came. */
export async function sendRaw(port: number, bytes: string | Buffer): Promise<RawAnswer[]> {
  const text = await exchangeBytes(port, bytes)
  const answers: RawAnswer[] = []
  let rest = text
  while (rest !== '') {
    const { answer, length } = parseAnswer(rest)
    answers.push(answer)
    rest = rest.slice(length)
  }
  return answers
}

/** The one answer to `bytes`; fails when there was none or more. */
export async function sendRawOnce(port: number, bytes: string | Buffer): Promise<RawAnswer> {
  const answers = await sendRaw(port, bytes)
  const [answer] = answers
  if (answer === undefined || answers.length !== 1) {
    throw new Error(`expected one answer, got ${answers.length}`)
  }
  return answer
}

function exchangeBytes(port: number, bytes: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    const received: Buffer[] = []
    let settled = false
    const finish = (): void => {
      if (settled) return
      settled = true
      clearTimeout(deadline)
      socket.destroy()
      resolve(Buffer.concat(received).toString('latin1'))
    }
    // The peer keeps a good connection open: an answer that is whole ends the exchange.
    const deadline = setTimeout(() => {
      settled = true
      socket.destroy()
      reject(new Error(`no whole answer to ${JSON.stringify(String(bytes).slice(0, 120))}`))
    }, 10_000)
    socket.on('connect', () => socket.write(bytes))
    socket.on('data', (chunk) => {
      received.push(Buffer.from(chunk))
      if (isWhole(Buffer.concat(received).toString('latin1'))) setImmediate(finish)
    })
    socket.on('close', finish)
    socket.on('error', () => socket.destroy())
  })
}

function isWhole(text: string): boolean {
  const headEnd = text.indexOf('\r\n\r\n')
  if (headEnd === -1) return false
  const { answer, length } = parseAnswer(text)
  // 100 Continue is not an answer yet; a connection that closes is waited for.
  if (answer.status === 100 || answer.headers['connection'] === 'close') return false
  return text.length >= length
}

function parseAnswer(text: string): { answer: RawAnswer; length: number } {
  const headEnd = text.indexOf('\r\n\r\n')
  if (headEnd === -1) throw new Error(`not an answer: ${JSON.stringify(text.slice(0, 200))}`)
  const [statusLine = '', ...lines] = text.slice(0, headEnd).split('\r\n')
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  const length = headEnd + 4 + Number(headers['content-length'] ?? 0)
  return {
    answer: {
      status: Number(statusLine.split(' ')[1]),
      headers,
      body: text.slice(headEnd + 4, length),
    },
    length,
  }
}
