/** `haus status`: one look at the house, and an exit code that says whether all is well. */
import type { Command } from '../command.ts'
import { exitCodes, Failure } from '../failure.ts'
import type { House } from '../house.ts'
import { collect } from '../house.ts'
import { addressText } from '../output/address.ts'
import type { Cell } from '../output/table.ts'
import { toneOf } from '../output/colour.ts'
import { durationText, relativeTime } from '../output/relative-time.ts'
import type { Screen } from '../output/screen.ts'
import type { AnswerOf } from '@haus/sdk/client'

type Body<Id extends Parameters<House['client']['call']>[0]> = Extract<
  AnswerOf<Id>,
  { readonly status: 200 }
>['body']

interface Status {
  readonly url: string
  readonly ready: Body<'getReady'>
  readonly house: Body<'getHouseHealth'>
  /** Null when the speaker is not an operator. */
  readonly system: Body<'getSystemHealth'> | null
  readonly services: Body<'getServicesHealth'>['items']
  /** Null when it does not answer, or the speaker is not an operator. */
  readonly gateway: Body<'getGatewayStatus'> | null
}

/** The contract allows no more services than this. */
const servicesMax = 2000
/** Of the gateway the first page: beyond a thousand services only its totals are shown. */
const pageLimit = 1000

export const statusCommand: Command = {
  name: 'status',
  summary: 'one look at the house: is it ready, what is wrong and why',
  description: [
    'Exits with 0 when the house is ready, writes are possible and no service is degraded or offline; with 1 otherwise. A service that nobody has judged yet, or that has moved out, does not count.',
  ],
  house: true,
  examples: [
    ['haus status', 'look'],
    ['until haus status >/dev/null; do sleep 1; done', 'wait until all is well'],
  ],
  run: async (context, args) => {
    const status = await look(context.house())
    if (args.flag('json')) context.screen.json(status)
    else show(status, context.screen)
    return isWell(status) ? exitCodes.ok : exitCodes.no
  },
}

async function look(house: House): Promise<Status> {
  // The public question first: it tells a house that is away from one that does not know us.
  const { body: ready } = await house.anonymous.call('getReady')
  const { client } = house
  const [health, system, services, gateway] = await Promise.all([
    client.call('getHouseHealth'),
    client.call('getSystemHealth').catch(unless('forbidden')),
    collect(servicesMax, (query) => client.call('getServicesHealth', { query })),
    client
      .call('getGatewayStatus', { query: { limit: pageLimit } })
      .catch(unless('forbidden', 'overloaded', 'route_not_found')),
  ])
  return {
    url: house.url,
    ready,
    house: health.body,
    system: system?.body ?? null,
    services: services.items,
    gateway: gateway?.body ?? null,
  }
}

/** For `catch`: these refusals mean that there is nothing to show. */
function unless(...codes: readonly string[]): (error: unknown) => undefined {
  return (error) => {
    if (error instanceof Failure && codes.includes(error.code)) return undefined
    throw error
  }
}

function isWell({ ready, house, system, gateway }: Status): boolean {
  const { degraded, offline } = house.services
  // An operator may ask the gateway, so that no answer is an answer.
  if (system !== null && gateway === null) return false
  return ready.status === 'ready' && ready.writes === 'available' && degraded + offline === 0
}

function show(status: Status, screen: Screen): void {
  const { url, ready, house, system, services, gateway } = status
  const version = system === null ? '' : ` ${system.version}`
  screen.print(
    `${screen.toned(`Haus${version}`, 'strong')} at ${url} is ${screen.toned(ready.status, toneOf(ready.status))}\n`,
  )
  screen.fields([
    ['Up for', system && durationText(system.uptimeSeconds)],
    ['Database', databaseCell({ system, ready })],
    ['Memory', system && `${Math.round(system.memoryBytes / 1_048_576)} MiB`],
    ['Gateway', gatewayCell(status)],
    ['Services', countsText(house.services, services.length)],
    ['Integrity', integrityCell(system)],
    // An age that a person would notice: the view is behind what the other processes know.
    [
      'Knowledge',
      house.ageMs > 2_000
        ? { text: `${durationText(house.ageMs / 1000)} old`, tone: 'poor' }
        : null,
    ],
  ])

  const wrong = services.flatMap(({ service, instances, health }) =>
    instances
      // Not seen working yet is nothing to tell, unless it has been looked at in vain.
      .filter(
        ({ state, reason }) => state !== 'healthy' && (state !== 'pending' || reason !== null),
      )
      .map((instance) => ({ service, health, ...instance })),
  )
  // What the gateway has seen itself and the checks have not yet confirmed.
  const kept = (gateway?.items ?? []).flatMap(({ service, instances }) =>
    instances
      .filter(({ id }) => !wrong.some((instance) => instance.id === id))
      .filter(({ withheld, breaker }) => withheld || breaker !== 'closed')
      .map((instance) => ({ service, ...instance })),
  )
  if (wrong.length + kept.length === 0) {
    screen.print(services.length === 0 ? 'No service has registered yet.\n' : '')
    return
  }
  screen.print('\n')
  screen.table(
    [
      { title: 'SERVICE' },
      { title: 'INSTANCE' },
      { title: 'STATE' },
      { title: 'SINCE' },
      { title: 'REASON', flexible: true },
    ],
    [
      ...wrong.map(({ service, address, port, state, stateChangedAt, reason }) => [
        service,
        addressText(address, port),
        screen.state(state),
        relativeTime(stateChangedAt, screen.nowMs),
        reason ?? '',
      ]),
      ...kept.map(({ service, address, port, state, withheld, breaker }) => [
        service,
        addressText(address, port),
        screen.state(state),
        '',
        withheld ? 'withheld by the gateway: it refused or reset' : `the breaker is ${breaker}`,
      ]),
    ],
  )
}

function gatewayCell({ system, gateway }: Status): Cell | null {
  if (gateway === null) return system && { text: 'does not answer', tone: 'bad' }
  const { url, domain, inFlight, routes } = gateway
  return {
    text: `${url} and *.${domain}; requests under way: ${inFlight}, published routes: ${routes}`,
  }
}

function databaseCell({ system, ready }: Pick<Status, 'system' | 'ready'>): Cell | null {
  const writes = `writes ${ready.writes}`
  const tone = ready.writes === 'available' ? undefined : 'bad'
  if (system === null) return { text: writes, tone }
  const { kind, available, error } = system.database
  const state = available ? '' : `, away${error === null ? '' : `: ${error}`}`
  return { text: `${kind}, ${writes}${state}`, tone: available ? tone : 'bad' }
}

/** Whose last instance has left is not ill, it has moved out: it is counted apart. */
function countsText(counts: Body<'getHouseHealth'>['services'], total: number): string {
  const entries = Object.entries(counts).filter(([, count]) => count > 0)
  const empty = total - entries.reduce((sum, [, count]) => sum + count, 0)
  const parts = entries.map(([health, count]) => `${count} ${health}`)
  if (empty > 0) parts.push(`${empty} without instances`)
  return [String(total), ...parts].join(', ')
}

function integrityCell(system: Status['system']): Cell | null {
  if (system === null || system.integrityFailures === 0) return null
  return { text: `${system.integrityFailures} rows refused: see the log`, tone: 'bad' }
}
