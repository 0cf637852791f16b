/** Keeps the main thread of a house busy from outside, through the inspector it was started with. */
import { once } from 'node:events'

/**
 * Its thread does nothing else for so long. Resolves once the order has been sent.
 * `output` is what the house wrote when `--inspect` opened.
 */
export async function evaluateFor(output: string, durationMs: number): Promise<void> {
  const url = /ws:\/\/127\.0\.0\.1:\d+\/\S+/.exec(output)?.[0]
  if (url === undefined) throw new Error(`The house names no inspector: ${output.slice(0, 300)}`)
  const socket = new WebSocket(url)
  await once(socket, 'open')
  const expression = `{ const endMs = performance.now() + ${durationMs}; while (performance.now() < endMs); }`
  socket.addEventListener('message', () => socket.close())
  socket.send(JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression } }))
}
