/**
 * Is the house in this container ready? Exit code 0: yes, 1: no, with one sentence why.
 *
 * It asks the address that the house wrote when it opened, so that it needs no curl and no second
 * copy of the settings, and it ends by itself before the container engine would end it. It trusts
 * any certificate: the house is asked over its own machine, by an address that no certificate names.
 */
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import path from 'node:path'

/** Below the 10 s of the image's HEALTHCHECK, so that the reason is told. */
const deadlineMs = 5_000

const dataDir = process.env['HAUS_DATA_DIR'] ?? './.haus'

function addressOfApi(): URL {
  const file = path.join(dataDir, 'endpoints.json')
  const endpoints: unknown = JSON.parse(readFileSync(file, 'utf8'))
  if (typeof endpoints === 'object' && endpoints !== null && 'api' in endpoints) {
    return new URL('/health/ready', String(endpoints.api))
  }
  throw new Error(`${file} names no API`)
}

function statusOf(url: URL): Promise<number | undefined> {
  const { get } = url.protocol === 'https:' ? https : http
  return new Promise((resolve, reject) => {
    const request = get(
      url,
      { rejectUnauthorized: false, signal: AbortSignal.timeout(deadlineMs) },
      (response) => {
        response.resume()
        response.on('end', () => resolve(response.statusCode))
        response.on('error', reject)
      },
    )
    request.on('error', reject)
  })
}

try {
  const status = await statusOf(addressOfApi())
  if (status !== 200) throw new Error(`/health/ready answered ${status}`)
} catch (error) {
  console.error(`not ready: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
