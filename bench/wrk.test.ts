import { test } from 'node:test'
import assert from 'node:assert/strict'
import { readWrk } from './wrk.ts'

const output = `Running 2s test @ http://127.0.0.1:1/x
  1 threads and 100 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.40ms    1.01ms  20.11ms   80.00%
    Req/Sec    29.50k     1.00k   31.00k    70.00%
  Latency Distribution
     50%    3.28ms
     75%    3.60ms
     90%  950.00us
     99%    1.20s
  58712 requests in 2.00s, 70.10MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 7
Requests/sec:  29341.56
Transfer/sec:     35.03MB
`

test('what wrk says is read, and every failure counts', () => {
  assert.deepEqual(readWrk(output), {
    requests: 58712,
    perSecond: 29341.56,
    p50Ms: 3.28,
    p99Ms: 1200,
    failed: 17,
  })
  const clean = output.replace(/ {2}Socket errors.*\n/, '').replace(/ {2}Non-2xx.*\n/, '')
  assert.equal(readWrk(clean).failed, 0)
  assert.throws(() => readWrk('unable to connect to 127.0.0.1:1 Connection refused'), /no answer/)
})
