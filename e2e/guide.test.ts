/** A guide's test is worth what it notices. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { assertShown, runSteps, stepsOf, type Step } from './guide.ts'

const page = [
  '# Guide',
  '```sh',
  'not ours',
  '```',
  '## Tour',
  '```sh',
  'name=orders',
  '```',
  '### One more',
  '```sh',
  'echo "{\\"name\\":\\"$name\\"}"',
  '```',
  '```json',
  '{ "name": "orders" }',
  '```',
  '## After',
  '```sh',
  'not ours either',
  '```',
].join('\n')

const session = { cwd: '/', env: process.env, replacements: {}, timeoutMs: 30_000 }

test('the blocks below a heading are one session, and each answer belongs to its step', async () => {
  const steps = stepsOf(page, '## Tour')
  assert.deepEqual(
    steps.map(({ line, shown }) => [line, shown?.text]),
    [
      [7, undefined],
      [11, '{ "name": "orders" }'],
    ],
  )
  const outputs = await runSteps(steps, session)
  for (const [at, step] of steps.entries()) assertShown(step, outputs[at] ?? '', {})
})

test('a step that complains or ends the session fails', async () => {
  const step = (script: string): Step[] => [{ line: 1, script, shown: undefined }]
  await assert.rejects(runSteps(step('ls /there/is/no/such/folder'), session))
  await assert.rejects(runSteps([...step('exit 0'), ...step('true')], session))
  await assert.rejects(runSteps(step('sleep 600'), { ...session, timeoutMs: 100 }))
})

const id = '01a20800-0000-7000-8000-000000000001'
const otherId = '01a20800-0000-7000-8000-000000000002'
const shown = (language: 'json' | 'text', text: string): Step => ({
  line: 1,
  script: '',
  shown: { language, text },
})

test('ids, times and what is left out may differ; words, keys and other numbers may not', () => {
  const step = shown('json', `{"id":"${id}","secret":"hsk_…","version":2,"index":7}`)
  const answer = { id: otherId, secret: 'hsk_abc', version: 2, index: 9 }
  const check = (changed: object): void =>
    assertShown(step, JSON.stringify({ ...answer, ...changed }), {})
  check({})
  for (const wrong of [
    { id: 'x' },
    { secret: 'abc' },
    { version: 3 },
    { more: 1 },
    { index: '7' },
  ]) {
    assert.throws(() => check(wrong), JSON.stringify(wrong))
  }
  assertShown(shown('text', 'id: …\nat port 3000'), 'id: 4\nat port 4123', { '3000': '4123' })
  assert.throws(() => assertShown(shown('text', 'id: …'), 'it: 4', {}))
  assert.throws(() => assertShown({ line: 1, script: '', shown: undefined }, 'something', {}))
})

test('a line that the page does not show is noticed, unless the page says that lines are left out', () => {
  const printed = 'Up for    2 s\nGateway   here\nMemory    9 MB\nServices  1'
  assertShown(shown('text', 'Up for    …\nGateway   …\nMemory    …\nServices  1'), printed, {})
  assertShown(shown('text', 'Up for    …\n…\nServices  1'), printed, {})
  for (const wrong of ['Up for    …\nMemory    …\nServices  1', 'Up for    …\nServices  1']) {
    assert.throws(() => assertShown(shown('text', wrong), printed, {}), wrong)
  }
})
