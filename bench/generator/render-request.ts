/** Turns a template into the bytes of one request; a template without placeholders is built once. */
import type { RequestTemplate } from './plan.ts'

export interface RenderedTemplate {
  readonly expect: number
  readonly withoutBody: boolean
  render(number: number): Buffer
}

const placeholder = /%(n|address)%/

export function renderTemplate(template: RequestTemplate, host: string): RenderedTemplate {
  const { expect, body } = template
  const withoutBody = template.method === 'HEAD'
  const fixed = !placeholder.test(template.path) && !placeholder.test(body ?? '')
  if (!fixed) {
    return { expect, withoutBody, render: (number) => bytesOf(template, host, number) }
  }
  const bytes = bytesOf(template, host, 0)
  return { expect, withoutBody, render: () => bytes }
}

function bytesOf(template: RequestTemplate, host: string, number: number): Buffer {
  const body = template.body === undefined ? undefined : fill(template.body, number)
  let head = `${template.method} ${fill(template.path, number)} HTTP/1.1\r\nHost: ${host}\r\n`
  for (const [name, value] of Object.entries(template.headers ?? {}))
    head += `${name}: ${value}\r\n`
  if (body !== undefined) {
    head += `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`
  }
  return Buffer.from(`${head}\r\n${body ?? ''}`)
}

function fill(text: string, number: number): string {
  if (!text.includes('%')) return text
  return text.replaceAll('%n%', String(number)).replaceAll('%address%', loopbackAddress(number))
}

/** 127.64.0.0 to 127.127.255.255: four million addresses, apart from those anybody listens on. */
export function loopbackAddress(number: number): string {
  return `127.${64 + ((number >> 16) & 63)}.${(number >> 8) & 255}.${number & 255}`
}
