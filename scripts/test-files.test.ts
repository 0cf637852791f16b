import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Children } from './children.ts'
import { runTestFiles, type FileResult } from './test-files.ts'

async function runSource(
  t: TestContext,
  source: string,
  options: { fileTimeoutMs?: number; grep?: string } = {},
): Promise<FileResult> {
  const [result] = await runSources(t, { 'sample.test.ts': source }, options)
  assert.ok(result)
  return result
}

async function runSources(
  t: TestContext,
  sources: Readonly<Record<string, string>>,
  options: { fileTimeoutMs?: number; grep?: string; mostlyWaiting?: ReadonlySet<string> } = {},
): Promise<FileResult[]> {
  const root = await mkdtemp(path.join(tmpdir(), 'haus tests '))
  t.after(() => rm(root, { recursive: true, force: true }))
  await writeFile(path.join(root, 'package.json'), '{"type":"module"}')
  for (const [file, source] of Object.entries(sources)) {
    await writeFile(path.join(root, file), `import { test, describe } from 'node:test'\n${source}`)
  }
  return runTestFiles({
    root,
    files: Object.keys(sources),
    mostlyWaiting: new Set(),
    concurrency: 1,
    env: process.env,
    children: new Children(),
    onResult: () => {},
    fileTimeoutMs: 60_000,
    ...options,
  })
}

test('a file that mostly waits runs beside the others, and every file once', async (t) => {
  const meets = (own: string, other: string): string =>
    `import { existsSync, writeFileSync } from 'node:fs'
     import { setTimeout as delay } from 'node:timers/promises'
     test('meets ${other}', { timeout: 30_000 }, async () => {
       writeFileSync('${own}', '')
       while (!existsSync('${other}')) await delay(5)
     })`
  const results = await runSources(
    t,
    {
      'a.test.ts': meets('a', 'b'),
      'b.test.ts': meets('b', 'a'),
      'c.test.ts': `test('c', () => {})`,
    },
    { mostlyWaiting: new Set(['b.test.ts']) },
  )
  assert.deepEqual(results.map(({ file, passed }) => `${file} ${passed}`).toSorted(), [
    'a.test.ts 1',
    'b.test.ts 1',
    'c.test.ts 1',
  ])
})

test('tests are counted, suites are not, and skipped ones keep their reason', async (t) => {
  const result = await runSource(
    t,
    `describe('suite', () => { test('one', () => {}) })
     test('outer', async (t) => { await t.test('inner', () => {}) })
     test('later', { skip: 'needs a moon' }, () => {})`,
  )
  assert.equal(result.passed, 3)
  assert.deepEqual(
    result.skipped.map(({ name, reason }) => `${name}: ${reason}`),
    ['later: needs a moon'],
  )
  assert.deepEqual(result.failures, [])
})

test('a failure is named with the tests around it, its line and its error', async (t) => {
  const result = await runSource(
    t,
    `test('outer', async (t) => {
       await t.test('inner', () => { throw new Error('it broke') })
     })`,
  )
  const [inner, outer, ...rest] = result.failures
  assert.deepEqual(rest, [])
  assert.equal(inner?.name, 'outer > inner')
  assert.equal(inner.line, 3)
  assert.match(inner.error, /it broke/)
  assert.equal(outer?.name, 'outer')
})

const fileFailures: readonly [what: string, source: string, expected: RegExp][] = [
  ['cannot be loaded', `import './nowhere.ts'`, /exit code 1/],
  ['contains no test', `export {}`, /contains no test/],
  ['ends its process', `test('exits', () => process.exit(3))`, /exit code 3.*exits|exit code 3/],
  [
    'rejects outside a test',
    `test('fine', () => {})\nvoid Promise.reject(new Error('nobody listens'))`,
    /nobody listens|exit code 1/,
  ],
]

for (const [what, source, expected] of fileFailures) {
  test(`a file that ${what} fails`, async (t) => {
    const { failures } = await runSource(t, source)
    assert.match(failures.map(({ error }) => error).join('\n'), expected)
  })
}

const hanging: readonly [how: string, source: string][] = [
  ['waits for ever', `test('hangs', () => new Promise(() => setInterval(() => {}, 1000)))`],
  ['blocks its thread', `test('hangs', () => { for (;;); })`],
]

for (const [how, source] of hanging) {
  test(`a test that ${how} is ended at the deadline and named`, async (t) => {
    const { failures } = await runSource(t, source, { fileTimeoutMs: 2_000 })
    assert.equal(failures.length, 1)
    assert.equal(failures[0]?.name, 'hangs')
    assert.match(failures[0].error, /deadline of 2 s/)
  })
}

test('what a test file leaves running is ended with it', async (t) => {
  const result = await runSource(
    t,
    `import { spawn } from 'node:child_process'
     test('spawns', () => {
       const child = spawn('sleep', ['60'], { stdio: 'ignore' })
       child.unref()
       console.log('left ' + child.pid)
     })`,
  )
  const pid = Number(/left (\d+)/.exec(result.output)?.[1])
  await assert.doesNotReject(untilGone(pid))
})

test('an interrupted run ends its children, once, and says so by its exit code', async (t) => {
  const root = await mkdtemp(path.join(tmpdir(), 'haus-tests-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const mark = path.join(root, 'pid')
  await writeFile(path.join(root, 'package.json'), '{"type":"module"}')
  await writeFile(
    path.join(root, 'slow.test.ts'),
    `import { writeFileSync } from 'node:fs'
     import { test } from 'node:test'
     test('slow', () => {
       writeFileSync(${JSON.stringify(mark)}, String(process.pid))
       return new Promise((resolve) => setTimeout(resolve, 60_000))
     })`,
  )
  const run = spawn(
    process.execPath,
    [path.join(import.meta.dirname, 'test.ts'), path.join(root, 'slow.test.ts')],
    { stdio: 'ignore' },
  )
  const pid = await eventually(async () => {
    const written = Number(await readFile(mark, 'utf8'))
    assert.ok(written > 0)
    return written
  })
  run.kill('SIGINT')
  run.kill('SIGINT')
  const [exitCode] = await once(run, 'exit')
  assert.equal(exitCode, 130)
  await untilGone(pid)
})

async function untilGone(pid: number): Promise<void> {
  assert.ok(pid > 0)
  await eventually(async () => {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ' Z')
    assert.match(stat, /\) [ZX]|^ Z$/)
  })
}

async function eventually<T>(attempt: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 20_000
  while (true) {
    try {
      return await attempt()
    } catch (error) {
      if (performance.now() > deadline) throw error
      await delay(20)
    }
  }
}
