import assert from 'node:assert/strict'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { runChild } from '../../../testing/child-program.ts'

const program = new URL('../../../testing/programs/report-memory.ts', import.meta.url)
/** 240 MB were measured; initdb in the process would be 640, PostgreSQL's default buffers 350. */
const limitBytes = 290e6

test('the database fits into its memory after a first start and after a warm one', async (t) => {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'haus-memory-'))
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  for (const start of ['first', 'warm']) {
    const child = runChild(program, [folder])
    t.after(() => child.kill())
    const { residentBytes, openMs } = JSON.parse(await child.line(/^\{/)) as {
      residentBytes: number
      openMs: number
    }
    assert.deepEqual(await child.ended, { code: 0, signal: null })
    t.diagnostic(`${start} start: ${openMs} ms, ${Math.round(residentBytes / 1e6)} MB`)
    assert.ok(residentBytes < limitBytes, `${start} start: ${residentBytes} bytes resident`)
  }
})
