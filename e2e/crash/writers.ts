/**
 * Writers that keep a house busy with every kind of durable write until told to stop, and enter
 * what happened into the book. What they own they own alone; one credential they compete for.
 */
import { createClient, requestToken, type Answer, type HouseClient } from '../client.ts'
import type { House } from '../harness.ts'
import type { Book, CredentialFact, InstanceFact, Place } from './book.ts'
import type { SeededRandom } from './seeded-random.ts'

/** Concurrent writes are what a group commit is made of. */
const writerCount = 16
const addressesPerWriter = 24
const credentialsPerWriter = 12
const keysPerWriter = 12
const setupAttemptsMax = 10
/** Beyond it the house has hung, and that is a fault of its own. */
const answerDeadlineMs = 5_000
/** Codes that promise that nothing was written. */
const refusals = new Set(['writes_unavailable', 'shutting_down', 'not_ready', 'overloaded'])

export interface Writer {
  readonly service: string
  readonly token: string
  readonly place: number
  contestedVersion: number
}

/** On a starved machine even these may be answered with 503, and may have been written all the same. */
export async function createWriters(house: House, book: Book): Promise<Writer[]> {
  book.contest = await createContested(house.operator, book)
  const writers: Writer[] = []
  for (let place = 0; place < writerCount; place += 1) {
    const service = `writer-${place}`
    const token = await createToken(house.operator, service, book)
    writers.push({ service, token, place, contestedVersion: 1 })
  }
  return writers
}

async function createContested(operator: HouseClient, book: Book): Promise<Book['contest']> {
  for (let attempt = 1; attempt <= setupAttemptsMax; attempt += 1) {
    const name = `contested-${attempt}`
    const value = 'by nobody'
    const body = { name, data: { value } }
    const answer = await operator.post('/api/credentials/create', body)
    if (answer.status === 201) {
      return { name, id: answer.body.id, acknowledged: new Map([[1, value]]) }
    }
    book.credentials.set(name, { certain: null, open: { id: null, version: 1, value } })
  }
  throw new Error('The house takes no writes')
}

async function createToken(operator: HouseClient, service: string, book: Book): Promise<string> {
  const keys = book.keysOf(service)
  while (keys.open < setupAttemptsMax) {
    const answer = await operator.post(`/api/services/${service}/keys`)
    if (answer.status === 201) {
      const { clientId, clientSecret } = answer.body
      keys.acknowledged.set(clientId, clientSecret)
      return requestToken(operator.url, { clientId, clientSecret })
    }
    keys.open += 1
  }
  throw new Error('The house takes no writes')
}

export interface Load {
  /** Resolves when so many more writes have been acknowledged, or the time is over. */
  acknowledged(count: number, deadlineMs: number): Promise<void>
  /** No new writes; resolves when the last one has its answer or its failure. */
  stop(): Promise<void>
}

export function startLoad(
  house: House,
  writers: readonly Writer[],
  book: Book,
  random: SeededRandom,
): Load {
  const operator = createClient(house.url, house.operatorToken)
  const stopping = new AbortController()
  let waiting: { target: number; resolve: () => void } | undefined

  /** True when the answer is the expected one; false when it is certain that nothing was written; undefined when nobody knows. */
  async function attempt(
    client: HouseClient,
    method: string,
    path: string,
    status: number,
    options: { body?: unknown; conflictIs?: 'refusal' } = {},
  ): Promise<{ outcome: true; answer: Answer } | { outcome: false | undefined }> {
    let answer: Answer
    try {
      answer = await client.request(method, path, {
        body: options.body,
        timeoutMs: answerDeadlineMs,
      })
    } catch {
      book.unanswered += 1
      return { outcome: undefined }
    }
    if (answer.status === status) {
      book.acknowledged += 1
      const requestId = answer.headers['x-request-id']
      if (typeof requestId === 'string') book.audited.add(requestId)
      if (waiting !== undefined && book.acknowledged >= waiting.target) waiting.resolve()
      return { outcome: true, answer }
    }
    const code: unknown = answer.body?.code
    if (answer.status === 503 && code === 'write_outcome_unknown') {
      book.unanswered += 1
      return { outcome: undefined }
    }
    const refused = answer.status === 503 && typeof code === 'string' && refusals.has(code)
    const conflict = answer.status === 409 && options.conflictIs === 'refusal'
    if (!refused && !conflict) {
      book.violations.push(`${method} ${path} answered ${answer.status}: ${answer.text}`)
    }
    return { outcome: false }
  }

  /** One write to one thing that nobody else writes to; skipped while its last one is open. */
  async function change<Fact>(
    place: Place<Fact>,
    after: Fact | null,
    send: () => ReturnType<typeof attempt>,
    learn: (answer: Answer) => Fact | null,
  ): Promise<void> {
    if (place.open !== undefined) return
    place.open = after
    const result = await send()
    if (result.outcome === undefined) return
    place.open = undefined
    if (result.outcome) place.certain = learn(result.answer)
  }

  async function register(client: HouseClient, { service, place }: Writer): Promise<void> {
    const address = `127.64.${place}.${random.between(1, addressesPerWriter)}`
    const port = 9
    const thing = placeIn<InstanceFact>(book.instances, `${service} ${address}:${port}`)
    const { certain } = thing
    if (certain !== null && certain.id !== null && random.unit() < 0.2) {
      const path = `/api/services/${service}/instances/${certain.id}`
      await change(
        thing,
        null,
        () => attempt(client, 'DELETE', path, 204),
        () => null,
      )
      return
    }
    const body = { name: service, version: '1.0.0', address, port }
    const incarnation = (certain?.incarnation ?? 0) + 1
    await change(
      thing,
      { id: certain?.id ?? null, incarnation },
      () => attempt(client, 'POST', '/api/services/register', 201, { body }),
      (answer) => {
        const fact = { id: String(answer.body.instanceId), incarnation: answer.body.incarnation }
        if (fact.incarnation !== incarnation || (certain !== null && certain.id !== fact.id)) {
          book.violations.push(
            `${service} ${address} was ${JSON.stringify(certain)} and came back as ${JSON.stringify(fact)}`,
          )
        }
        return fact
      },
    )
  }

  async function writeCredential({ service, place }: Writer): Promise<void> {
    const name = `credential-${place}-${random.between(1, credentialsPerWriter)}`
    const thing = placeIn<CredentialFact>(book.credentials, name)
    const { certain } = thing
    const value = `${name}-${random.between(0, 2 ** 31)}`
    book.touched.add(name)
    if (certain === null) {
      const body = { name, data: { value }, services: [service] }
      await change(
        thing,
        { id: null, version: 1, value },
        () => attempt(operator, 'POST', '/api/credentials/create', 201, { body }),
        (answer) => ({ id: String(answer.body.id), version: answer.body.version, value }),
      )
    } else if (random.unit() < 0.15) {
      await change(
        thing,
        null,
        () => attempt(operator, 'DELETE', `/api/credentials/${certain.id}`, 204),
        () => null,
      )
    } else {
      const body = { data: { value }, cas: certain.version }
      await change(
        thing,
        { ...certain, version: certain.version + 1, value },
        () => attempt(operator, 'POST', `/api/credentials/${certain.id}`, 201, { body }),
        (answer) => ({ ...certain, version: answer.body.version, value }),
      )
    }
  }

  /** Compare-and-set by all at once: every version may be acknowledged to one writer only. */
  async function compete(writer: Writer): Promise<void> {
    const cas = writer.contestedVersion
    const value = `contested-${cas + 1}-by-${writer.place}`
    const { contest } = book
    const path = `/api/credentials/${contest.id}`
    const result = await attempt(operator, 'POST', path, 201, {
      body: { data: { value }, cas },
      conflictIs: 'refusal',
    })
    if (result.outcome === true) {
      const { version } = result.answer.body
      if (contest.acknowledged.has(version)) {
        book.violations.push(`version ${version} of ${contest.name} was acknowledged twice`)
      }
      contest.acknowledged.set(version, value)
    }
    const now = await operator.get(path, { timeoutMs: answerDeadlineMs }).catch(() => undefined)
    if (now?.status === 200) writer.contestedVersion = now.body.version
  }

  async function createKey({ place }: Writer): Promise<void> {
    const service = `key-holder-${place}-${random.between(1, 4)}`
    const keys = book.keysOf(service)
    if (keys.acknowledged.size + keys.open >= keysPerWriter) return
    keys.open += 1
    const result = await attempt(operator, 'POST', `/api/services/${service}/keys`, 201)
    if (result.outcome === undefined) return
    keys.open -= 1
    if (result.outcome) {
      const { clientId, clientSecret } = result.answer.body
      keys.acknowledged.set(clientId, clientSecret)
    }
  }

  async function discover(client: HouseClient, { service }: Writer): Promise<void> {
    const answer = await client
      .get(`/api/discover?service=${service}`, { timeoutMs: answerDeadlineMs })
      .catch(() => undefined)
    if (answer?.status !== 200) return
    const index = Number(answer.headers['haus-index'])
    if (index > book.highestIndex) book.highestIndex = index
  }

  async function work(writer: Writer): Promise<void> {
    const client = createClient(house.url, writer.token)
    while (!stopping.signal.aborted) {
      const chance = random.unit()
      const unansweredBefore = book.unanswered
      if (chance < 0.4) await register(client, writer)
      else if (chance < 0.7) await writeCredential(writer)
      else if (chance < 0.8) await compete(writer)
      else if (chance < 0.88) await createKey(writer)
      else if (chance < 0.94) await discover(client, writer)
      else {
        const path = `/api/credentials/service/${writer.service}`
        await attempt(client, 'GET', path, 200)
      }
      // A house that is gone is not hammered; its end is noticed elsewhere.
      if (book.unanswered > unansweredBefore) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  const working = Promise.all(writers.map(work))
  return {
    acknowledged: async (count, deadlineMs) => {
      const { promise, resolve } = Promise.withResolvers<void>()
      waiting = { target: book.acknowledged + count, resolve }
      const timer = setTimeout(resolve, deadlineMs)
      await promise
      clearTimeout(timer)
      waiting = undefined
    },
    stop: async () => {
      stopping.abort()
      await working
    },
  }
}

function placeIn<Fact>(places: Map<string, Place<Fact>>, key: string): Place<Fact> {
  const known = places.get(key)
  if (known !== undefined) return known
  const place: Place<Fact> = { certain: null, open: undefined }
  places.set(key, place)
  return place
}
