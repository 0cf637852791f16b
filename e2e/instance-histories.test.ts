/**
 * Random histories of instances that start, stop, are killed, are cut off and come back: discovery
 * and gateway never offer one that cannot be reached later than 1 s after the first evidence, and
 * never withhold a healthy one.
 *
 * A share runs with every `npm test`; `npm run histories` (HAUS_TEST_LONG=1) runs all 200.
 * HAUS_TEST_SEED repeats a run's choices; the moments of the operating system stay its own.
 */
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createClient, createIdentity, requestToken } from './client.ts'
import { seededRandom } from './crash/seeded-random.ts'
import { gatewayPort } from './gateway/front-door.ts'
import { startHouse } from './harness.ts'
import { History } from './histories/history.ts'

const long = process.env['HAUS_TEST_LONG'] === '1'
const histories = long ? 200 : 12
/** At one time: they mostly wait, but the short run shares two cores with other tests. */
const atOnce = long ? 20 : 6
/** The long run has the machine for itself, and judges the second of the promise. */
const busyMachineMs = long ? 0 : 500

const seed = Number(process.env['HAUS_TEST_SEED'] ?? randomInt(2 ** 31))

test(`${histories} histories: nobody dead is offered after 1 s, nobody healthy is withheld`, async (t) => {
  t.diagnostic(`seed ${seed}`)
  await using house = await startHouse({
    env: { HAUS_GATEWAY_ADDR: '127.0.0.1:0', HAUS_LOG_LEVEL: 'warn' },
  })
  const numbers = Array.from({ length: histories }, (_, number) => number)
  const counts = { looks: 0, requests: 0, deaths: 0 }
  const broken: string[] = []
  const work = async (): Promise<void> => {
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
      const name = `history-${number}`
      const identity = await createIdentity(house.operator, name)
      const token = await requestToken(house.url, identity, 'haus-gateway')
      const history = new History({
        name,
        random: seededRandom(seed + number),
        api: house.as(identity.token),
        operator: house.operator,
        gateway: createClient(`http://127.0.0.1:${gatewayPort(house)}`, token),
        busyMachineMs,
      })
      await history.run().catch((error: unknown) => broken.push(String(error)))
      counts.looks += history.looks
      counts.requests += history.requests
      counts.deaths += history.deaths
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  t.diagnostic(JSON.stringify(counts))
  assert.equal(
    broken.length,
    0,
    `seed ${seed}: ${broken.length} broken\n${broken.slice(0, 3).join('\n')}`,
  )
  assert.ok(counts.deaths > histories, 'the histories hold deaths, and the gateway met them')
})
