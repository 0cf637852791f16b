/** Asks the reopened house for everything the book knows, and settles what was open. */
import { createClient, requestToken, type HouseClient } from '../client.ts'
import type { House } from '../harness.ts'
import type { Book, CredentialFact, InstanceFact } from './book.ts'
import type { SeededRandom } from './seeded-random.ts'
import type { Writer } from './writers.ts'

/** Older ones are dropped by the house. */
const versionsKept = 32
/** Each costs a decryption and an audit record; over all rounds everything is looked at. */
const valuesPerRound = 40

export async function checkThroughApi(
  house: House,
  writers: readonly Writer[],
  book: Book,
  random: SeededRandom,
): Promise<void> {
  const operator = createClient(house.url, house.operatorToken)
  await checkIndex(operator, book)
  await checkInstances(operator, writers, book)
  await checkCredentials(operator, book)
  await checkContested(operator, book, writers)
  await checkKeys(operator, book, random)
}

async function checkIndex(operator: HouseClient, book: Book): Promise<void> {
  const { body } = await operator.expectSoon(200, 'GET', '/api/health')
  if (body.index < book.highestIndex) {
    book.violations.push(`the index was ${book.highestIndex} and went back to ${body.index}`)
  }
  book.highestIndex = Math.max(book.highestIndex, body.index)
}

async function checkInstances(
  operator: HouseClient,
  writers: readonly Writer[],
  book: Book,
): Promise<void> {
  const actual = new Map<string, InstanceFact>()
  for (const { service } of writers) {
    const answer = await operator.get(`/api/services/${service}`)
    if (answer.status === 404) continue
    for (const { id, incarnation, address, port } of answer.body.instances) {
      actual.set(`${service} ${address}:${port}`, { id, incarnation })
    }
  }
  for (const [key, place] of book.instances) {
    book.settle(`instance ${key}`, place, actual.get(key) ?? null, (known, found) => {
      return known.incarnation === found.incarnation && (known.id ?? found.id) === found.id
    })
    actual.delete(key)
  }
  for (const key of actual.keys()) book.violations.push(`nobody registered ${key}`)
}

async function checkCredentials(operator: HouseClient, book: Book): Promise<void> {
  const metadata = new Map<string, { id: string; version: number }>()
  let cursor: string | null = null
  do {
    const query: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`
    const { body } = await operator.expectSoon(200, 'GET', `/api/credentials?limit=1000${query}`)
    for (const { name, id, version } of body.items) metadata.set(name, { id, version })
    cursor = body.nextCursor
  } while (cursor !== null)
  if (!metadata.delete(book.contest.name)) book.violations.push('the contested credential is gone')

  let looks = valuesPerRound
  for (const [name, place] of book.credentials) {
    const found = metadata.get(name)
    metadata.delete(name)
    // The value of an open write is always looked at: it decides which of the two it is.
    const look = place.open !== undefined || (book.touched.has(name) && looks > 0)
    let actual: CredentialFact | null = null
    if (found !== undefined) {
      const value = look ? await valueOf(operator, found.id) : undefined
      if (look) looks -= 1
      actual = { ...found, value: value ?? place.certain?.value ?? '' }
    }
    if (look) book.touched.delete(name)
    book.settle(`credential ${name}`, place, actual, (known, there) => {
      const { id, version, value } = there
      return known.version === version && known.value === value && (known.id ?? id) === id
    })
  }
  for (const name of metadata.keys()) book.violations.push(`nobody created credential ${name}`)
}

async function valueOf(operator: HouseClient, id: string, version?: number): Promise<string> {
  const query = version === undefined ? '' : `?version=${version}`
  const { body } = await operator.expectSoon(200, 'POST', `/api/credentials/${id}/reveal${query}`)
  return body.data.value
}

async function checkContested(
  operator: HouseClient,
  book: Book,
  writers: readonly Writer[],
): Promise<void> {
  const { id, name, acknowledged } = book.contest
  const { body } = await operator.expectSoon(200, 'GET', `/api/credentials/${id}`)
  const highest = Math.max(...acknowledged.keys())
  if (body.version < highest) {
    book.violations.push(`${name} was at version ${highest}, now at ${body.version}`)
  }
  for (const [version, value] of acknowledged) {
    // Looked at once each, while they are kept.
    acknowledged.delete(version)
    if (version <= body.version - versionsKept) continue
    const found = await valueOf(operator, id, version)
    if (found !== value) {
      book.violations.push(`version ${version} of ${name} is ${found}, not ${value}`)
    }
  }
  acknowledged.set(body.version, await valueOf(operator, id))
  for (const writer of writers) writer.contestedVersion = body.version
}

async function checkKeys(operator: HouseClient, book: Book, random: SeededRandom): Promise<void> {
  for (const [service, keys] of book.keys) {
    const path = `/api/services/${service}/keys?limit=1000`
    const { body } = await operator.expectSoon(200, 'GET', path)
    const found = new Set<string>(body.items.map((item: { clientId: string }) => item.clientId))
    for (const clientId of keys.acknowledged.keys()) {
      if (!found.delete(clientId)) book.violations.push(`key ${clientId} of ${service} is gone`)
    }
    if (found.size > keys.open) {
      book.violations.push(`${service} has ${found.size} keys that nobody asked for`)
    }
    book.settled.written += found.size
    book.settled.notWritten += Math.max(0, keys.open - found.size)
    // Their secrets are lost, but the keys are there and count.
    for (const clientId of found) keys.acknowledged.set(clientId, '')
    keys.open = 0
  }
  const [, keys] = random.pick([...book.keys])
  for (const [clientId, clientSecret] of keys.acknowledged) {
    if (clientSecret !== '') await requestToken(operator.url, { clientId, clientSecret })
  }
}
