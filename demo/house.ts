/**
 * The temporary house of the demo, and the command line in front of it. It is killed and opened
 * again on the same ports and data folder, as a supervisor would.
 */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { createClient, tokenFile, type HausClient } from '@haus/sdk/client'
import { repositoryRoot, startHouse, type House } from '../e2e/harness.ts'

export interface DemoHouse extends AsyncDisposable {
  readonly dataDir: string
  readonly api: string
  readonly gateway: string
  readonly pid: number
  readonly operator: HausClient
  /** `haus` with these arguments, as the operator of this house. @throws with what it said. */
  cli(...args: string[]): Promise<string>
  kill9(): Promise<void>
  reopen(): Promise<void>
}

export const hausCommand = path.join(repositoryRoot, 'packages/cli/bin/haus')
const cliDeadlineMs = 20_000
/** Of `haus`: the house cannot do it now. */
const tryAgainCode = 7
const triesMax = 20

export async function openHouse(dataDir: string): Promise<DemoHouse> {
  const first = await startHouse({ dataDir, env: { HAUS_GATEWAY_ADDR: '127.0.0.1:0' } })
  const { api, gateway } = first.endpoints
  if (api === undefined || gateway === undefined) throw new Error('the house names no addresses')
  const token = path.join(dataDir, 'operator.token')
  const operator = createClient({ url: api, tokens: tokenFile(token) })
  let house: House = first
  return {
    dataDir,
    api,
    gateway,
    operator,
    get pid() {
      return house.pid
    },
    async cli(...args) {
      const env = { ...process.env, HAUS_URL: api, HAUS_TOKEN_FILE: token, NO_COLOR: '1' }
      for (let tries = 1; ; tries += 1) {
        try {
          const { stdout } = await promisify(execFile)(hausCommand, args, {
            env,
            timeout: cliDeadlineMs,
          })
          return stdout
        } catch (error) {
          const busy = error instanceof Error && 'code' in error && error.code === tryAgainCode
          if (!busy || tries === triesMax) throw error
        }
      }
    },
    kill9: async () => void (await house.kill9()),
    async reopen() {
      house = await startHouse({
        dataDir,
        env: { HAUS_API_ADDR: hostOf(api), HAUS_GATEWAY_ADDR: hostOf(gateway) },
      })
    },
    [Symbol.asyncDispose]: async () => void (await house.stop()),
  }
}

function hostOf(url: string): string {
  return new URL(url).host
}
