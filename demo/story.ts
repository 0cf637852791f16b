/** What the demo shows, in order: the main job of a house, with real programs. */
import { randomBytes } from 'node:crypto'
import { HausApiError, type HausClient, type RequestOf } from '@haus/sdk/client'
import { generateLoad } from '../bench/load-generator.ts'
import { ask, createCast, fingerprint, type Cast, type Report } from './cast.ts'
import type { DemoHouse } from './house.ts'
import { heldInFiles } from './held-in-files.ts'
import { patiently } from './patience.ts'
import { expect, within, type Stage } from './stage.ts'
import { staticServer } from './static-server.ts'

export interface StoryOptions {
  /** A folder of the demo's own, deleted by whoever made it. */
  readonly folder: string
  readonly clients: number
  readonly loadSeconds: number
  /** How long the services have to get along without the coordinator. */
  readonly awaySeconds: number
  /** The promise of the house: from a death or a new version to the last surface. */
  readonly promiseMs: number
}

/** Until a program is up, on a machine that is busy with something else. */
const liveDeadlineMs = 30_000

/** Each service and the one credential that is its own. */
const credentialOf = {
  orders: 'orders-database',
  billing: 'billing-provider',
  files: 'files-signing',
} as const
type ServiceName = keyof typeof credentialOf
const services = Object.keys(credentialOf) as ServiceName[]

export async function tellStory(
  stage: Stage,
  openHouse: () => Promise<DemoHouse>,
  options: StoryOptions,
): Promise<void> {
  await using house = await stage.step('A house opens on an empty folder', async (note) => {
    const opened = await openHouse()
    note(`API ${opened.api} · gateway ${opened.gateway}`)
    return opened
  })
  await using cast = createCast(house, options.folder)
  const secrets = new Map(services.map((service) => [service, randomBytes(12).toString('hex')]))

  await stage.step('The operator makes a key and a credential for each service', (note) =>
    keysAndCredentials(cast, secrets, note),
  )
  await stage.step('Real programs move in: by SDK, by `haus run`, by REST', (note) =>
    moveIn(cast, note),
  )
  await stage.step('Each has its own credential, and is refused that of another', (note) =>
    ownCredentialsOnly(cast, secrets, note),
  )
  await stage.step('Discovery answers with address, health, balancing and endpoints', (note) =>
    discovery(cast, note),
  )
  await stage.step('Calls through the gateway reach both instances', (note) =>
    bothServe(cast, note),
  )
  await stage.step(
    `${options.clients} clients; one instance dies by kill -9: nobody notices`,
    (note) => killedUnderLoad(cast, options, note),
  )
  await stage.step('It comes back and takes traffic', (note) => comesBack(cast, note))
  await stage.step('A new version of each credential reaches the running services', (note) =>
    rotation(cast, secrets, options, note),
  )
  await stage.step(
    'The coordinator dies by kill -9: the services go on, and it returns whole',
    (note) => coordinatorAway(cast, options, note),
  )
  await stage.step('The audit tells the whole story', (note) => auditTellsAll(cast, note))
}

type Note = (text: string) => void

async function keysAndCredentials(
  cast: Cast,
  secrets: ReadonlyMap<ServiceName, string>,
  note: Note,
): Promise<void> {
  const { operator } = cast.house
  for (const service of services) {
    await cast.keyOf(service)
    const secret = secrets.get(service) ?? ''
    const body = await createCredential(operator, {
      name: credentialOf[service],
      data: { secret },
      services: [service],
    })
    expect(!JSON.stringify(body).includes(secret), 'the answer repeats the secret')
  }
  note(`haus token issue ${services.join(' | ')} --out FILE`)
}

async function moveIn(cast: Cast, note: Note): Promise<void> {
  const { command, args, name } = staticServer
  await Promise.all([
    cast.startOrders('orders-a'),
    cast.startOrders('orders-b'),
    cast.startBilling(),
    cast.startFiles(command, args),
  ])
  const wanted = { orders: 2, billing: 1, files: 1 }
  await within(
    liveDeadlineMs,
    () => `all of them registered and healthy${saidBy(cast)}`,
    async () => {
      const counts = await Promise.all(services.map((service) => healthyInstances(cast, service)))
      return services.every((service, i) => counts[i]?.length === wanted[service]) || undefined
    },
  )
  note(`orders: 2 instances with @haus/sdk · files: ${name} under haus run · billing: plain REST`)
}

async function ownCredentialsOnly(
  cast: Cast,
  secrets: ReadonlyMap<ServiceName, string>,
  note: Note,
): Promise<void> {
  for (const [service, version] of services.map((name) => [name, 1] as const)) {
    for (const held of await whatIsHeld(cast, service)) expectHeld(held, service, version, secrets)
  }
  const orders = await cast.as('orders')
  await expectRefused(403, 'orders reads the credentials of billing', () =>
    orders.call('getServiceCredentials', { params: { name: 'billing' } }),
  )
  await expectRefused(403, 'orders registers as billing', () =>
    orders.call('registerInstance', { body: { name: 'billing', version: '1.0.0', port: 1 } }),
  )
  const { items } = (
    await cast.house.operator.call('listAudit', {
      query: { actor: 'service:orders', action: 'getServiceCredentials', outcome: 'denied' },
    })
  ).body
  expect(items[0]?.target === 'credentials/service/billing', 'the refusal is not in the audit')
  note('fingerprints agree · 403 forbidden, and on record')
}

async function discovery(cast: Cast, note: Note): Promise<void> {
  const billing = await cast.as('billing')
  const { body } = await billing.call('discover', { query: { service: 'orders' } })
  expect(body.address !== null && body.port !== null, 'no address')
  expect(body.health === 'healthy', `orders is ${body.health}`)
  expect(body.instances.length === 2, `${body.instances.length} instances instead of 2`)
  expect(body.endpoints.length > 0, 'no endpoints')
  expect(body.loadBalancing.candidates === 2, 'the balancer has not two to choose from')
  const endpoints = body.endpoints.map(({ path: route }) => route).join(', ')
  note(`${body.url} · ${body.health} · ${body.loadBalancing.strategy} of 2 · ${endpoints}`)
}

async function bothServe(cast: Cast, note: Note): Promise<void> {
  const token = await gatewayToken(cast, 'billing')
  const counts = new Map<number, number>()
  for (let call = 0; call < 200; call += 1) {
    const { status, text } = await throughGateway(cast, '/orders/', token)
    expect(status === 200, `the gateway answered ${status}: ${text}`)
    const { pid } = JSON.parse(text) as Report
    counts.set(pid, (counts.get(pid) ?? 0) + 1)
  }
  expect(counts.size === 2, `only ${counts.size} instance served`)
  const least = Math.min(...counts.values())
  // Who came last begins with less, and on a busy machine that may be seconds later.
  expect(least >= 5, `one of them served ${least} of 200`)
  const files = await throughGateway(cast, '/files/', token)
  expect(files.status === 200, `files answered ${files.status} through the gateway`)
  const stranger = await throughGateway(cast, '/orders/', undefined)
  expect(stranger.status === 401, `without a token the gateway answered ${stranger.status}`)
  note(`200 calls: ${[...counts.values()].join(' + ')} · without a token: 401`)
}

async function killedUnderLoad(
  cast: Cast,
  { clients, loadSeconds, promiseMs }: StoryOptions,
  note: Note,
): Promise<void> {
  const victim = cast.programs.get('orders-b')
  expect(victim?.running === true, 'there is no second instance to kill')
  const token = await gatewayToken(cast, 'billing')
  const { hostname, port } = new URL(cast.house.gateway)
  let answered = 0
  const load = generateLoad(
    {
      host: hostname,
      port: Number(port),
      connections: clients,
      warmupMs: 0,
      durationMs: loadSeconds * 1_000,
      answerTimeoutMs: 10_000,
      templates: [
        {
          method: 'GET',
          path: '/orders/kilobyte',
          headers: { 'haus-token': token },
          expect: 200,
        },
      ],
    },
    { onProgress: (count) => (answered = count) },
  )
  // A failure of the load is told by the load; until then nothing may be left unhandled.
  load.catch(() => {})
  await within(liveDeadlineMs, 'the load has begun', () => (answered > 0 ? true : undefined))
  const died = victim.kill9()
  const { afterMs } = await within(promiseMs, 'the dead instance left discovery', async () =>
    (await offered(cast, 'orders')) === 1 ? true : undefined,
  )
  await died
  const result = await load
  const reasons = JSON.stringify(result.failures)
  expect(result.failed === 0, `${result.failed} of ${result.answered} failed: ${reasons}`)
  const rate = Math.round(result.answered / loadSeconds).toLocaleString('en-US')
  note(`${result.answered.toLocaleString('en-US')} requests, ${rate}/s, 0 failed`)
  note(`gone from discovery ${afterMs.toFixed(0)} ms after kill -9`)
}

async function comesBack(cast: Cast, note: Note): Promise<void> {
  const program = await cast.startOrders('orders-b')
  const token = await gatewayToken(cast, 'billing')
  const { afterMs } = await within(
    liveDeadlineMs,
    () => `the instance that came back answers through the gateway${saidBy(cast)}`,
    async () => {
      const { text } = await throughGateway(cast, '/orders/', token)
      return (JSON.parse(text) as Report).pid === program.pid || undefined
    },
  )
  note(`process ${program.pid} answers, ${(afterMs / 1_000).toFixed(1)} s after its start`)
}

async function rotation(
  cast: Cast,
  secrets: Map<ServiceName, string>,
  { promiseMs }: StoryOptions,
  note: Note,
): Promise<void> {
  const times: string[] = []
  for (const service of services) {
    const id = await credentialId(cast, service)
    const secret = randomBytes(12).toString('hex')
    secrets.set(service, secret)
    const { operator } = cast.house
    await patiently(
      async () => {
        const body = { data: { secret }, cas: 1 }
        await operator.call('addCredentialVersion', { params: { id }, body })
      },
      { code: 'version_conflict', lookUp: async () => {} },
    )
    const { afterMs } = await within(
      promiseMs,
      `version 2 of ${credentialOf[service]} in every running instance of ${service}`,
      async () => {
        const all = await whatIsHeld(cast, service)
        return all.every((held) => held[credentialOf[service]]?.version === 2) || undefined
      },
    )
    for (const held of await whatIsHeld(cast, service)) expectHeld(held, service, 2, secrets)
    times.push(`${service} ${afterMs.toFixed(0)} ms`)
  }
  note(`after the answer to the operator: ${times.join(' · ')}`)
}

async function coordinatorAway(
  cast: Cast,
  { awaySeconds }: StoryOptions,
  note: Note,
): Promise<void> {
  const { house } = cast
  const before = await registered(cast)
  const { id } = await createCredential(house.operator, {
    name: 'written-just-before',
    data: { value: 'kept' },
    services: ['orders'],
  })
  const [instance] = await healthyInstances(cast, 'orders')
  expect(instance !== undefined, 'no instance of orders')
  await house.kill9()

  const endsAtMs = performance.now() + awaySeconds * 1_000
  let calls = 0
  while (performance.now() < endsAtMs) {
    const { status, text } = await ask(`${instance.url}/ask-billing`)
    expect(status === 200, `orders could not call billing while the coordinator was away: ${text}`)
    calls += 1
  }
  await house.reopen()
  const kept = (await house.operator.call('getCredential', { params: { id } })).body
  expect(kept.version === 1, 'what was acknowledged just before is not there')
  const { afterMs } = await within(
    liveDeadlineMs,
    'everything registered and healthy',
    async () => {
      const now = await registered(cast)
      return JSON.stringify(now) === JSON.stringify(before) || undefined
    },
  )
  note(`${calls.toLocaleString('en-US')} calls from orders to billing meanwhile, 0 failed`)
  note(`the same instances and incarnations ${afterMs.toFixed(0)} ms after it is ready again`)
}

async function auditTellsAll(cast: Cast, note: Note): Promise<void> {
  const records: string[] = []
  for await (const { actor, action, outcome } of cast.house.operator.list('listAudit')) {
    records.push(`${actor} ${action} ${outcome}`)
  }
  const wanted = [
    'operator createServiceKey allowed',
    'operator createCredential allowed',
    'operator addCredentialVersion allowed',
    ...services.map((service) => `service:${service} registerInstance allowed`),
    ...services.map((service) => `service:${service} getServiceCredentials allowed`),
    'service:orders getServiceCredentials denied',
    'service:orders registerInstance denied',
  ]
  for (const line of wanted) expect(records.includes(line), `not in the audit: ${line}`)
  const registrations = records.filter((line) => line.includes('registerInstance allowed')).length
  // Four programs and one that came back; an answer that a busy house held back is asked for again.
  expect(registrations >= 5, `${registrations} registrations instead of 5`)
  note(`${records.length} records`)
}

async function whatIsHeld(cast: Cast, service: ServiceName): Promise<Report['held'][]> {
  if (service === 'files') return [heldInFiles(cast.programs.get('files'))]
  const instances = await healthyInstances(cast, service)
  return Promise.all(
    instances.map(async ({ url }) => (JSON.parse((await ask(`${url}/`)).text) as Report).held),
  )
}

function expectHeld(
  held: Report['held'],
  service: ServiceName,
  version: number,
  secrets: ReadonlyMap<ServiceName, string>,
): void {
  const names = Object.keys(held).join(', ')
  expect(names === credentialOf[service], `${service} holds ${names || 'nothing'}`)
  const mine = held[credentialOf[service]]
  expect(mine?.version === version, `${service} holds version ${mine?.version}`)
  const print = fingerprint(secrets.get(service) ?? '')
  expect(mine.print === print, `${service} holds something else than what was written`)
}

async function healthyInstances(cast: Cast, service: string) {
  const { operator } = cast.house
  try {
    const { body } = await operator.call('discover', { query: { service } })
    return body.instances.filter(({ health }) => health === 'healthy')
  } catch (error) {
    if (error instanceof HausApiError && error.status === 404) return []
    throw error
  }
}

async function offered(cast: Cast, service: string): Promise<number> {
  const { body } = await cast.house.operator.call('discover', { query: { service } })
  return body.instances.length
}

async function registered(cast: Cast): Promise<unknown> {
  const all = services.map(async (name) => {
    const { body } = await cast.house.operator.call('getService', { params: { name } })
    return body.instances.map(({ id, incarnation, state }) => ({ id, incarnation, state }))
  })
  return Promise.all(all)
}

async function credentialId(cast: Cast, service: ServiceName): Promise<string> {
  return (await listed(cast.house.operator, credentialOf[service])).id
}

async function listed(operator: HausClient, wanted: string) {
  for await (const credential of operator.list('listCredentials')) {
    if (credential.name === wanted) return credential
  }
  throw new Error(`${wanted} is not in the list of credentials`)
}

function createCredential(
  operator: HausClient,
  body: RequestOf<'createCredential'>['body'],
): Promise<{ readonly id: string }> {
  return patiently(async () => (await operator.call('createCredential', { body })).body, {
    code: 'name_taken',
    lookUp: () => listed(operator, body.name),
  })
}

async function gatewayToken(cast: Cast, service: string): Promise<string> {
  return (await (await cast.as(service)).token('haus-gateway')).reveal()
}

function throughGateway(cast: Cast, route: string, token: string | undefined) {
  return ask(cast.house.gateway + route, token === undefined ? {} : { 'haus-token': token })
}

async function expectRefused(
  status: number,
  what: string,
  act: () => Promise<unknown>,
): Promise<void> {
  try {
    await patiently(act)
  } catch (error) {
    if (error instanceof HausApiError && error.status === status) return
    throw error
  }
  throw new Error(`${what}, and was not refused`)
}

/** What the programs printed, for a failure that they may explain. */
function saidBy({ programs }: Cast): string {
  const said = [...programs].map(([name, { output }]) => [name, output().trim()] as const)
  return said
    .filter(([, text]) => text !== '')
    .map(([name, text]) => `\n${name}: ${text.slice(-500)}`)
    .join('')
}
