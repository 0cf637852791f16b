import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Turns } from './turns.ts'

test('tasks of one key run one after the other in their order, those of others beside them', async () => {
  const turns = new Turns()
  const steps: string[] = []
  const gate = Promise.withResolvers<void>()
  const first = turns.take('a', async () => {
    steps.push('a1')
    await gate.promise
    steps.push('a1 ends')
  })
  const second = turns.take('a', async () => void steps.push('a2'))
  await turns.take('b', async () => void steps.push('b1'))
  assert.deepEqual(steps, ['a1', 'b1'])
  gate.resolve()
  await Promise.all([first, second])
  assert.deepEqual(steps, ['a1', 'b1', 'a1 ends', 'a2'])
})

test('a task that fails does not hold up the next', async () => {
  const turns = new Turns()
  const failing = turns.take('a', () => Promise.reject(new Error('first')))
  const next = turns.take('a', async () => 'second')
  await assert.rejects(failing, { message: 'first' })
  assert.equal(await next, 'second')
})

test('at most 32 stand in line, and the line empties again', async () => {
  const turns = new Turns()
  const gate = Promise.withResolvers<void>()
  const standing = Array.from({ length: 32 }, () => turns.take('a', () => gate.promise))
  await assert.rejects(
    turns.take('a', () => gate.promise),
    { code: 'overloaded' },
  )
  gate.resolve()
  await Promise.all(standing)
  assert.equal(await turns.take('a', async () => 'again'), 'again')
})
