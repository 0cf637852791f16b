/**
 * One random history of a service's instances, and what it holds the house to all along.
 *
 * An instance that cannot be reached is in no answer of discovery, and takes no traffic, one
 * second after the house first had evidence. Evidence is traffic: after every death the history
 * asks through the gateway until the gateway has tried the dead one. An instance that has been
 * seen to serve, and to which nothing has happened since, is in every answer.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { SeededRandom } from '../crash/seeded-random.ts'
import type { Answer, HouseClient } from '../client.ts'
import { HistoryInstance } from './instance.ts'

export interface HistoryOptions {
  readonly name: string
  readonly random: SeededRandom
  /** As the service itself. */
  readonly api: HouseClient
  readonly operator: HouseClient
  /** At the gateway. */
  readonly gateway: HouseClient
  /** What a machine that does something else may add to the promise. */
  readonly busyMachineMs: number
}

/** The promise. */
const offerLimitMs = 1_000
/** A new start is probed at once; after a cut, a heartbeat asks for two looks a second apart. */
const settleLimitMs = 12_000
const looksPauseMs = 60
const evidenceRequestsMax = 400
const actionsPerHistory = [6, 10] as const

interface Fate {
  /** Changes with everything that happens to it: what was under way is not judged by it. */
  turn: number
  /** Since the house has had evidence that it cannot be reached. */
  evidenceMs: number | undefined
  /** Since it can be reached again, until it has been seen to be back. */
  returningMs: number | undefined
  /** Seen in discovery and serving at the gateway since the last thing that happened to it. */
  settled: boolean
}

/** What the gateway knew of the service and of the instance. */
interface BeforeDeath {
  readonly retries: number
  /** It could be picked. */
  readonly serves: boolean
}

export class History {
  readonly #options: HistoryOptions
  readonly #instances: HistoryInstance[] = []
  readonly #fates = new Map<HistoryInstance, Fate>()
  readonly story: string[] = []
  readonly #startedMs = performance.now()
  #over = false
  /** Of the last looks: on a starved machine the house has had as much less time as they took. */
  #slowLookMs = 0
  looks = 0
  requests = 0
  deaths = 0

  constructor(options: HistoryOptions) {
    this.#options = options
  }

  /** @throws with the whole story at the first promise that is broken. */
  async run(): Promise<void> {
    const { random, name, api } = this.#options
    const count = random.between(2, 4)
    const acting: Promise<void>[] = []
    for (let place = 0; place < count; place += 1) {
      const instance = new HistoryInstance(name, api)
      this.#instances.push(instance)
      this.#fates.set(instance, {
        turn: 0,
        evidenceMs: undefined,
        returningMs: undefined,
        settled: false,
      })
    }
    try {
      for (const instance of this.#instances) await this.#start(instance)
      acting.push(this.#live(), this.#watch())
      await Promise.race(acting)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      throw new Error(`${name}: ${why}\n  ${this.story.join('\n  ')}`, { cause: error })
    } finally {
      this.#over = true
      await Promise.allSettled(acting)
      await Promise.all(this.#instances.map((instance) => instance.dispose()))
    }
  }

  async #live(): Promise<void> {
    const { random } = this.#options
    const actions = random.between(...actionsPerHistory)
    for (let count = 0; count < actions; count += 1) {
      await delay(random.between(0, 600))
      if (this.#over) return
      await this.#act(random.pick(this.#instances))
    }
    for (const instance of this.#instances) {
      if (instance.condition === 'cut') this.#heal(instance)
      instance.muted = false
    }
    // All that can serve must be back before the history is over; `watch` holds it to the limit.
    const isMissing = (one: HistoryInstance): boolean =>
      one.condition === 'up' && !this.#fate(one).settled
    while (!this.#over && this.#instances.some(isMissing)) {
      await delay(looksPauseMs)
    }
    // And one limit longer, so that the last death is judged too.
    await delay(offerLimitMs + this.#options.busyMachineMs + 4 * looksPauseMs)
  }

  async #act(instance: HistoryInstance): Promise<void> {
    const { random } = this.#options
    if (instance.condition === 'down') return this.#start(instance)
    if (instance.condition === 'cut') return this.#heal(instance)
    switch (random.pick(['stop', 'kill', 'kill', 'cut', 'cut', 'silence', 'mute'] as const)) {
      case 'stop':
        return this.#stop(instance)
      case 'kill': {
        const before = await this.#beforeDeath(instance)
        this.#happens(instance, 'killed')
        await instance.kill(random.unit() < 0.5)
        return this.#giveEvidence(instance, before)
      }
      case 'cut': {
        const before = await this.#beforeDeath(instance)
        this.#happens(instance, 'cut off')
        instance.cut()
        return this.#giveEvidence(instance, before)
      }
      case 'silence': {
        // Shorter than any timeout: no evidence of anything.
        this.#note(instance, 'silent')
        instance.fallSilent()
        await delay(random.between(50, 800))
        instance.heal()
        this.#note(instance, 'answers again')
        return
      }
      case 'mute':
        instance.muted = !instance.muted
        this.#note(instance, instance.muted ? 'heartbeats are lost' : 'heartbeats arrive')
    }
  }

  async #start(instance: HistoryInstance): Promise<void> {
    this.#happens(instance, 'starts')
    await instance.start()
    this.#happens(instance, `started as ${instance.id}`)
    this.#fate(instance).returningMs = performance.now()
  }

  async #stop(instance: HistoryInstance): Promise<void> {
    this.#happens(instance, 'deregisters')
    await instance.stop(async () => {
      // The answer to a deregistration is evidence: it knows.
      this.#happens(instance, 'deregistered')
      this.#fate(instance).evidenceMs = performance.now()
      // As long as it has been promised to be offered at most.
      await delay(offerLimitMs)
    })
    this.#note(instance, 'stopped')
  }

  #heal(instance: HistoryInstance): void {
    this.#happens(instance, 'can be reached again')
    instance.heal()
    this.#fate(instance).returningMs = performance.now()
  }

  /** Asks until the gateway has met the dead one: its retries and refusals tell. */
  async #giveEvidence(instance: HistoryInstance, before: BeforeDeath): Promise<void> {
    if (!before.serves) {
      // A refusal would say that nobody is there to be tried, and nothing of this one.
      this.#note(instance, 'was not in service: no request will tell')
      return
    }
    for (let count = 1; count <= evidenceRequestsMax && !this.#over; count += 1) {
      const { status } = await this.#ask()
      if (status !== 200 || (count % 8 === 0 && (await this.#retries()) > before.retries)) {
        this.deaths += 1
        this.#fate(instance).evidenceMs = performance.now()
        this.#note(instance, `evidence after ${count} requests`)
        return
      }
    }
    this.#note(instance, `no evidence in ${evidenceRequestsMax} requests: it was not tried`)
  }

  /** A house that waits for a processor is late as its answers are, and beside other tests by more. */
  #slackMs(): number {
    return this.#slowLookMs + this.#options.busyMachineMs
  }

  async #ask(): Promise<Answer> {
    const { gateway, name } = this.#options
    const safe = this.#instances.filter((one) => this.#serves(one))
    const turns = safe.map((one) => this.#fate(one).turn)
    const answer = await gateway.get(`/${name}/x`)
    this.requests += 1
    const spared = safe.filter((one, place) => this.#fate(one).turn === turns[place])
    // One may die under way: there is a second try for it. A history kills one at a time.
    if (answer.status !== 200 && spared.length > 0) {
      throw new Error(
        `at ${this.#sinceStart()} a request failed with ${answer.status} while ${spared.length} could serve: ${answer.text}`,
      )
    }
    return answer
  }

  /** Looks again and again until the history is over. */
  async #watch(): Promise<void> {
    while (!this.#over) {
      await this.#look()
      await this.#ask()
      await delay(looksPauseMs)
    }
  }

  async #look(): Promise<void> {
    const { api, name } = this.#options
    const startedMs = performance.now()
    const turns = new Map(this.#instances.map((one) => [one, this.#fate(one).turn]))
    const discovery = await api.get(`/api/discover?service=${name}`)
    const status = await this.#status()
    this.looks += 1
    this.#slowLookMs = Math.max(performance.now() - startedMs, this.#slowLookMs * 0.9)
    const found: readonly Found[] = discovery.body?.instances ?? []
    const offered = idsIn(found)
    // One that is in doubt is offered too while nobody else can serve, and goes when one can.
    const vouched = idsIn(found.filter(({ health }) => health === 'healthy'))
    const serving = idsIn(status.filter(({ serves }) => serves))
    for (const instance of this.#instances) {
      const fate = this.#fate(instance)
      // Something happened to it meanwhile.
      if (fate.turn !== turns.get(instance)) continue
      const where = `discovery ${offered.has(instance.id)}, gateway ${serving.has(instance.id)}`
      const { evidenceMs, returningMs } = fate
      if (evidenceMs !== undefined && startedMs > evidenceMs + offerLimitMs + this.#slackMs()) {
        if (offered.has(instance.id) || serving.has(instance.id)) {
          const lateMs = (startedMs - evidenceMs).toFixed(0)
          throw new Error(
            `${this.#nameOf(instance)} is offered ${lateMs} ms after the first evidence (${where})`,
          )
        }
      }
      if (instance.condition === 'down' || instance.condition === 'cut') continue
      const there = offered.has(instance.id) && serving.has(instance.id)
      if (there && (fate.settled || vouched.has(instance.id))) {
        fate.settled = true
        fate.returningMs = undefined
      } else if (fate.settled && !there) {
        throw new Error(
          `${this.#nameOf(instance)} is withheld at ${this.#sinceStart()} although nothing happened to it (${where})`,
        )
      } else if (returningMs !== undefined && startedMs > returningMs + settleLimitMs) {
        throw new Error(
          `${this.#nameOf(instance)} is not back ${settleLimitMs} ms after it could be reached (${where})`,
        )
      }
    }
  }

  #serves(instance: HistoryInstance): boolean {
    return instance.condition === 'up' && this.#fate(instance).settled
  }

  async #status(): Promise<readonly { readonly id: string; readonly serves: boolean }[]> {
    return (await this.#gatewayService())?.instances ?? []
  }

  async #retries(): Promise<number> {
    return (await this.#gatewayService())?.retries ?? 0
  }

  async #beforeDeath({ id }: HistoryInstance): Promise<BeforeDeath> {
    const service = await this.#gatewayService()
    const serves = service?.instances.some((one) => one.id === id && one.serves) ?? false
    return { retries: service?.retries ?? 0, serves }
  }

  async #gatewayService(): Promise<
    { instances: { id: string; serves: boolean }[]; retries: number } | undefined
  > {
    const { operator, name } = this.#options
    const { body } = await operator.expect(200, 'GET', `/api/gateway/status?service=${name}`)
    return body.items[0]
  }

  #happens(instance: HistoryInstance, what: string): void {
    const fate = this.#fate(instance)
    fate.turn += 1
    fate.settled = false
    fate.evidenceMs = undefined
    fate.returningMs = undefined
    this.#note(instance, what)
  }

  #note(instance: HistoryInstance, what: string): void {
    this.story.push(`${this.#sinceStart()} ${this.#nameOf(instance)} ${what}`)
  }

  #fate(instance: HistoryInstance): Fate {
    const fate = this.#fates.get(instance)
    if (!fate) throw new Error('unreachable: every instance has its fate')
    return fate
  }

  #nameOf(instance: HistoryInstance): string {
    return `instance ${this.#instances.indexOf(instance)}`
  }

  #sinceStart(): string {
    return `${(performance.now() - this.#startedMs).toFixed(0)} ms`
  }
}

interface Found {
  readonly id: string
  readonly health: string
}

function idsIn(items: readonly { readonly id: string }[]): ReadonlySet<string> {
  return new Set(items.map(({ id }) => id))
}
