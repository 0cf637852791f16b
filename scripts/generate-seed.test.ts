import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkSeed } from './generate-seed.ts'

test('the committed seed fits its manifest, the code and the pinned PGlite', async () => {
  assert.deepEqual(await checkSeed(), [])
})
