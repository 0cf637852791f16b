/** A share of `npm run load -- gateway` and `gateway-churn` with every run of the tests. */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { runGatewayLoad } from '../bench/gateway-load.ts'
import { startHouse } from './harness.ts'

test('100 clients through the gateway while instances are killed and replaced: 0 failures', async (t) => {
  await using house = await startHouse({
    env: { HAUS_GATEWAY_ADDR: '127.0.0.1:0', HAUS_LOG_LEVEL: 'warn' },
  })
  const { result, killed } = await runGatewayLoad({
    house,
    clients: 100,
    durationMs: 4_000,
    killEveryMs: 1_000,
  })
  t.diagnostic(`${result.answered} answers, ${killed} killed`)
  assert.deepEqual(result.failures, {}, JSON.stringify(result.samples))
  assert.ok(killed >= 2, `${killed} killed`)
  assert.ok(result.answered > 500)
})
