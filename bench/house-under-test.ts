/**
 * The house as the benchmarks meet it: the real `main.ts` in a process of its own, on the embedded
 * database or on a PostgreSQL that syncs for real, with the CPU time of both accounted apart.
 */
import fs from 'node:fs'
import { Client } from 'pg'
import { openDatabase } from '../services/zimmer-13-api-coordinator/src/platform/database/index.ts'
import {
  startPostgres,
  type PostgresServer,
} from '../services/zimmer-13-api-coordinator/src/testing/postgres-server.ts'
import { createIdentity } from '../e2e/client.ts'
import { startHouse, temporaryFolder, type House } from '../e2e/harness.ts'
import { generateLoad, type LoadEvents, type Plan, type PlanResult } from './load-generator.ts'
import { cpuMsOf, processTree } from './process-usage.ts'

export type DatabaseKind = 'embedded' | 'postgres'
export const databaseKinds: readonly DatabaseKind[] = ['embedded', 'postgres']
export const databaseNames: Readonly<Record<DatabaseKind, string>> = {
  embedded: 'PGlite',
  postgres: 'PostgreSQL',
}

export interface CpuTime {
  readonly houseMs: number
  /** PostgreSQL's processes; PGlite runs inside the house and is part of its time. */
  readonly databaseMs: number
}

export interface MeasuredLoad {
  readonly result: PlanResult
  readonly cpu: CpuTime
}

export class HouseUnderTest implements AsyncDisposable {
  readonly kind: DatabaseKind
  readonly #dataDir: string
  readonly #postgres: PostgresServer | undefined
  #house: House

  private constructor(
    kind: DatabaseKind,
    dataDir: string,
    postgres: PostgresServer | undefined,
    house: House,
  ) {
    this.kind = kind
    this.#dataDir = dataDir
    this.#postgres = postgres
    this.#house = house
  }

  /** `env`: beside and before what every benchmark sets. */
  static async start(
    kind: DatabaseKind,
    env: Readonly<Record<string, string>> = {},
  ): Promise<HouseUnderTest> {
    const postgres = kind === 'postgres' ? await startPostgres({ durable: true }) : undefined
    const dataDir = temporaryFolder()
    try {
      const house = await startHouse({
        dataDir,
        databaseUrl: postgres?.url,
        env: { ...environment, ...env },
      })
      return new HouseUnderTest(kind, dataDir, postgres, house)
    } catch (error) {
      await postgres?.stop()
      fs.rmSync(dataDir, { recursive: true, force: true })
      throw error
    }
  }

  get house(): House {
    return this.#house
  }

  get target(): { readonly host: string; readonly port: number } {
    const { hostname, port } = new URL(this.#house.url)
    return { host: hostname, port: Number(port) }
  }

  cpu(): CpuTime {
    const postmaster = this.#postgres?.pid
    return {
      houseMs: cpuMsOf([this.#house.pid]),
      databaseMs: postmaster === undefined ? 0 : cpuMsOf(processTree(postmaster)),
    }
  }

  /** Runs a plan against the house, with the CPU time that its measured part took. */
  async load(plan: Omit<Plan, 'host' | 'port'>, events: LoadEvents = {}): Promise<MeasuredLoad> {
    let before = this.cpu()
    let after = before
    const result = await generateLoad(
      { ...plan, ...this.target },
      {
        ...events,
        onMeasuring: () => {
          before = this.cpu()
        },
        onMeasured: () => {
          after = this.cpu()
        },
      },
    )
    const cpu = {
      houseMs: after.houseMs - before.houseMs,
      databaseMs: after.databaseMs - before.databaseMs,
    }
    return { result, cpu }
  }

  async kill9AndRestart(): Promise<void> {
    await this.#house.kill9()
    this.#house = await startHouse({
      dataDir: this.#dataDir,
      databaseUrl: this.#postgres?.url,
      env: environment,
    })
  }

  /** Rows straight from the database. Stops an embedded house, which alone may open its folder. */
  async queryStopped(sql: string): Promise<Record<string, unknown>[]> {
    if (this.#postgres !== undefined) {
      const client = new Client({ connectionString: this.#postgres.url })
      await client.connect()
      try {
        return (await client.query(sql)).rows
      } finally {
        await client.end()
      }
    }
    await this.#house.stop()
    const database = await openDatabase<unknown>({
      dataDir: this.#dataDir,
      log: { debug() {}, info() {}, warn() {}, error() {} },
      onFatal: (error) => {
        throw error
      },
    })
    try {
      return (await database.pool.query(sql)).rows
    } finally {
      await database.close()
    }
  }

  async databaseVersion(): Promise<string> {
    if (this.#postgres === undefined) return 'PGlite'
    const [row] = await this.queryStopped('show server_version')
    return `PostgreSQL ${String(row?.['server_version'])}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#house[Symbol.asyncDispose]()
    await this.#postgres?.stop()
    fs.rmSync(this.#dataDir, { recursive: true, force: true })
  }
}

/** Instances of the benchmarks live on loopback addresses that nobody else uses. */
const environment = { HAUS_ADVERTISE_ALLOW: '127.0.0.0/8', HAUS_LOG_LEVEL: 'warn' }

export interface Identity {
  readonly service: string
  readonly token: string
}

/** At once, as many as the house may comfortably answer while it is being set up. */
const setupConcurrency = 8

export async function createIdentities(house: House, count: number): Promise<Identity[]> {
  const identities: Identity[] = []
  const names = Array.from({ length: count }, (_, place) => `bench-${place}`)
  const work = async (): Promise<void> => {
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      const { token } = await createIdentity(house.operator, name)
      identities.push({ service: name, token })
    }
  }
  await Promise.all(Array.from({ length: setupConcurrency }, work))
  return identities.toSorted((a, b) => a.service.localeCompare(b.service, 'en', { numeric: true }))
}
