/**
 * The composition root: who gets what, and in which order the house opens and closes. Every
 * dependency is a visible argument; there is no container and no global.
 */
import { readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import { createSecureContext } from 'node:tls'
import { HausError } from '@haus/contract'
import type { Config } from './config/load.ts'
import { auditOfRefusal, auditRoutes } from './features/audit/index.ts'
import {
  createCredentials,
  CredentialView,
  credentialRoutes,
} from './features/credentials/index.ts'
import { createEventBus, createEvents, eventRoutes } from './features/events/index.ts'
import {
  createGateway,
  createGatewayRoutes,
  createRelay,
  gatewayRoutes,
  RouteView,
} from './features/gateway/index.ts'
import { healthRoutes } from './features/health/index.ts'
import {
  createIdentity,
  createIdentityView,
  identityRoutes,
  openHouse,
  operatorTokenFile,
  sealRowsOfBefore,
} from './features/identity/index.ts'
import {
  AliasSeal,
  createRegistry,
  createRegistryView,
  registryRoutes,
  sealAliases,
} from './features/registry/index.ts'
import type { Tables } from './features/tables.ts'
import { migrations } from './migrations/index.ts'
import { systemClock, type Clock } from './platform/clock/clock.ts'
import { systemRandom, type Random } from './platform/crypto/index.ts'
import { DataDirLock, migrate, openDatabase, prepareDataDir } from './platform/database/index.ts'
import { fileTrouble, replacePrivateFile } from './platform/files/private-file.ts'
import {
  createHttpServer,
  createRoutes,
  type ListenAddress,
  type Listening,
} from './platform/http/index.ts'
import { measureEventLoopLag } from './platform/clock/event-loop-lag.ts'
import { createLedger } from './platform/ledger/index.ts'
import type { Log } from './platform/log/log.ts'
import { apiRoutes } from './surfaces/api/index.ts'
import { createMetrics, prometheusRoutes } from './surfaces/prometheus/index.ts'

/** What only the process itself can tell. */
export interface ProcessReadings {
  memoryBytes(): number
  openFiles(): OpenFiles | null
  /** Since the start. */
  logLinesLost(): number
}

/** Descriptors, of which sockets are most, and how many there may be. */
export interface OpenFiles {
  readonly count: number
  readonly max: number
}

export interface HausOptions {
  readonly log: Log
  readonly version: string
  /** Of the machine; clients may reach the API by it. */
  readonly hostName: string
  readonly process: ProcessReadings
  readonly renewOperatorToken?: boolean
  /** The house cannot go on: the process must end, and what was acknowledged is safe. */
  readonly onFatal: (error: Error) => void
  readonly clock?: Clock
  readonly random?: Random
}

export interface Opened {
  readonly version: string
  /** The API's address as a URL. */
  readonly api: string
  /** The gateway's. */
  readonly gateway: string
  readonly dataDir: string
  readonly isNew: boolean
  readonly database: 'embedded database' | 'PostgreSQL'
  readonly operatorTokenFile: string
}

export interface Haus {
  /** @throws HausError with one clear sentence when the house cannot open. */
  start(): Promise<Opened>
  /** Lets what runs finish, for `deadlineMs` at most. Safe to call at any moment, and twice. */
  stop(deadlineMs: number): Promise<void>
}

/** Set aside for the ledger, and as much again for the database, after the last request. */
const storageStopMs = 1_500

export function createHaus(config: Config, options: HausOptions): Haus {
  const { log, version, clock = systemClock, random = systemRandom } = options
  /** What has been started, in order; closing undoes it from the end. */
  const undo: ((deadlineMs: number) => Promise<void>)[] = []
  let stopping: Promise<void> | undefined
  let readiness: 'starting' | 'ready' | 'draining' = 'starting'
  const startedAtMs = clock.monotonicMs()
  const eventLoopLag = measureEventLoopLag(clock)

  async function start(): Promise<Opened> {
    refusePlaintext(config)
    const tls = config.tls === null ? undefined : await readTls(config.tls)

    if (config.databaseUrl !== null) {
      // The embedded database locks the folder itself; two houses on PostgreSQL would overwrite
      // each other's endpoints file.
      prepareDataDir(config.dataDir)
      const lock = new DataDirLock(config.dataDir)
      undo.push(() => Promise.resolve(lock.release()))
    }
    const database = await openDatabase<Tables>({
      url: config.databaseUrl?.reveal(),
      dataDir: config.dataDir,
      log,
      onFatal: options.onFatal,
    })
    undo.push(() => database.close())
    const endpointsFile = path.join(config.dataDir, 'endpoints.json')
    // Left by a house that was killed, it names an address where nobody answers.
    await rm(endpointsFile, { force: true })
    await migrate(database.db, migrations, { log })
    const house = await openHouse({
      database,
      dataDir: config.dataDir,
      rootKeyFile: config.rootKeyFile,
      clock,
      random,
      log,
    })

    await sealRowsOfBefore(house, database.db, async (trx) => {
      const services = await sealAliases(trx, new AliasSeal(house.rootKey))
      if (services > 0) log.info({ services }, 'aliases of before are sealed as they were found')
    })

    const holdingsOf = (name: string) => ({
      liveKeys: identityView.liveKeysOf(name),
      grants: credentialView.grantedCount(name),
    })
    const registryView = createRegistryView({ rootKey: house.rootKey, holdingsOf, log })
    const canonicalService = (name: string): string => registryView.canonicalService(name)
    const identityView = createIdentityView({ house, db: database.db, log })
    const credentialView = new CredentialView({
      db: database.db,
      rootKey: house.rootKey,
      houseId: house.houseId,
      log,
    })
    const routeView = new RouteView()
    const bus = createEventBus()
    const ledger = createLedger<Tables>({
      database,
      clock,
      log,
      onRolledBack: options.onFatal,
      // The bus is last: what watchers are told, every view already knows.
      projections: [registryView, identityView, credentialView, routeView, bus],
    })
    const identity = await createIdentity({
      house,
      view: identityView,
      ledger,
      clock,
      random,
      log,
      dataDir: config.dataDir,
      resolveService: canonicalService,
    })
    const credentials = createCredentials({
      database: { db: database.readDb },
      ledger,
      view: credentialView,
      rootKey: house.rootKey,
      houseId: house.houseId,
      clock,
      random,
      canonicalService,
    })
    let listening: Listening | undefined
    const registry = createRegistry({
      database,
      ledger,
      view: registryView,
      credentials,
      holdingsOf,
      clock,
      random,
      log,
      advertiseAllow: config.advertiseAllow,
      ownListeners: () => ownListeners(),
    })
    const [jwk] = identity.jwks().keys
    if (jwk === undefined) throw new Error('the house has no key for tokens')
    const hostNames = [options.hostName.toLowerCase(), ...config.apiHosts]
    const gateway = createGateway({
      traffic: registry.traffic,
      keys: identityView,
      issuer: identity.issuer,
      jwk,
      routes: routeView,
      report: (id, incarnation, evidence) => registry.report(id, incarnation, evidence),
      domain: config.gatewayDomain,
      hosts: hostNames,
      advertiseAllow: config.advertiseAllow,
      clock,
      random,
      log,
      onFatal: options.onFatal,
    })
    const ownListeners = () => [
      ...(listening ? [{ address: listening.host, port: listening.port }] : []),
      ...gateway.listeners,
    ]
    const relay = createRelay(gateway)
    const events = createEvents({
      bus,
      ledger,
      clock,
      houseId: house.houseId,
      canonicalService,
      dependenciesOf: (service) => registryView.dependencies(service),
    })

    const metrics = createMetrics()
    const server = createHttpServer({
      log,
      clock,
      random,
      tls,
      allowedHosts: hostNames,
      onRequestDone: metrics.onRequestDone,
    })
    const routes = createRoutes(server, {
      authenticate: (authorization, { source }) => identity.authenticate(authorization, source),
      freshness: () => registry.freshness(),
      canonicalService,
      async recordDenial(context, target, code) {
        const audit = auditOfRefusal(context, target, 'denied', code)
        await ledger.append({ keys: [], writes: [], events: [], audit })
      },
    })
    identityRoutes(routes, identity)
    eventRoutes(routes, events)
    auditRoutes(routes, database.readDb, ledger, clock)
    credentialRoutes(routes, credentials)
    registryRoutes(routes, registry)
    const publishedRoutes = createGatewayRoutes({
      ledger,
      view: routeView,
      clock,
      random,
      canonicalService,
    })
    gatewayRoutes(routes, publishedRoutes, gateway, relay)
    const readings = {
      readiness: () => readiness,
      ledger: () => ledger.status(),
      version,
      startedAt: clock.now(),
      databaseKind: database.kind,
      uptimeSeconds: () => Math.floor((clock.monotonicMs() - startedAtMs) / 1_000),
      ...options.process,
      eventLoopLagMs: () => eventLoopLag.p99Ms(),
      streams: () => events.streams,
      integrityFailures: () =>
        identity.status().integrityFailures +
        credentials.status().integrityFailures +
        registryView.integrityFailures,
      house: () => registryView.snapshot(),
      instanceState: registry.stateOf,
      monitor: registry.monitorReport,
      gateway: () => gateway.counts,
    }
    healthRoutes(routes, registry, readings)
    prometheusRoutes(routes, metrics, readings)
    apiRoutes(routes, { version })
    routes.finish()

    await ledger.start()
    undo.push(async () => {
      await ledger.stop(storageStopMs)
      credentials.close()
    })
    // Before the files are settled, which would warn of the lost token that is being replaced.
    if (options.renewOperatorToken) {
      const file = await identity.renewOperatorToken()
      log.info({ file }, 'the operator token is renewed; the one before has ended')
    }
    await identity.start()

    await registry.start()
    undo.push(() => registry.stop())

    undo.push((deadlineMs) => gateway.close(deadlineMs))
    const frontDoor = await gateway.open(config.gatewayAddr, tls)
    listening = await server.listen(config.apiAddr)
    gateway.avoid(ownListeners())
    readiness = 'ready'
    undo.push(async (deadlineMs) => {
      await rm(endpointsFile, { force: true })
      events.stop()
      // Together, because both have the same deadline.
      await Promise.all([server.close(deadlineMs), gateway.close(deadlineMs)])
      // Not before: it cuts what is still under way between the two.
      relay.close()
    })
    const gatewayUrl = reachableUrl(frontDoor)
    const endpoints = `${JSON.stringify({ api: reachableUrl(listening), gateway: gatewayUrl })}\n`
    // Renamed into place, because health checks and scripts read it at any moment.
    await replacePrivateFile(endpointsFile, endpoints, random).catch((error: unknown) => {
      throw fileTrouble(endpointsFile, error)
    })

    return {
      version,
      api: reachableUrl(listening),
      gateway: gatewayUrl,
      dataDir: config.dataDir,
      isNew: house.isNew,
      database: database.kind === 'embedded' ? 'embedded database' : 'PostgreSQL',
      operatorTokenFile: operatorTokenFile(config.dataDir),
    }
  }

  async function stop(deadlineMs: number): Promise<void> {
    readiness = 'draining'
    eventLoopLag.stop()
    const requestsMs = Math.max(0, deadlineMs - 2 * storageStopMs)
    for (let step = undo.pop(); step; step = undo.pop()) {
      await step(requestsMs).catch((err: unknown) =>
        log.warn({ err }, 'a part did not close cleanly'),
      )
    }
  }

  return {
    start,
    stop: (deadlineMs) => (stopping ??= stop(deadlineMs)),
  }
}

function refusePlaintext({ apiAddr, gatewayAddr, tls, allowPlaintext }: Config): void {
  if (tls !== null || allowPlaintext) return
  refusePublic('API', apiAddr)
  refusePublic('gateway', gatewayAddr)
}

function refusePublic(what: string, { host, port }: ListenAddress): void {
  if (isLoopback(host)) return
  throw new HausError(
    'plaintext_refused',
    `the ${what} would listen on ${host}:${port} without TLS, where tokens and secrets can be read on the way: set HAUS_TLS_CERT_FILE and HAUS_TLS_KEY_FILE, or HAUS_ALLOW_PLAINTEXT=true if something in front ends TLS`,
  )
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}

async function readTls({ certFile, keyFile }: { certFile: string; keyFile: string }) {
  const read = (file: string): Promise<Buffer> =>
    readFile(file).catch((cause: unknown) => {
      throw new HausError('tls_invalid', `the TLS file ${file} cannot be read`, { cause })
    })
  const tls = { cert: await read(certFile), key: await read(keyFile) }
  try {
    createSecureContext(tls)
  } catch (cause) {
    throw new HausError(
      'tls_invalid',
      `the certificate ${certFile} and the key ${keyFile} cannot be used together: both must be PEM, and the key must be that of the first certificate`,
      { cause },
    )
  }
  return tls
}

/** An address that listens on everything is not one to connect to. */
function reachableUrl({ host, url }: Listening): string {
  if (host === '0.0.0.0') return url.replace('0.0.0.0', '127.0.0.1')
  return host === '::' ? url.replace('[::]', '[::1]') : url
}
