/**
 * Runs what a guide shows. The `sh` blocks of a page are one session of bash, in the order of the
 * page; the block after one, if it is `json` or `text`, is what that step must print.
 *
 * What a house makes itself differs from run to run, so an answer is held to its shape: the same
 * keys, the same words, and where the page shows an id or a time, some id or time. `…` stands for
 * anything within its line, and a line that is nothing else for lines that are left out. Nothing
 * here knows which page it runs.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'

export interface Step {
  /** Of its first line, counted from 1. */
  readonly line: number
  readonly script: string
  readonly shown: { readonly language: 'json' | 'text'; readonly text: string } | undefined
}

/** The steps below `heading`, up to the next heading of the same or a higher rank. */
export function stepsOf(markdown: string, heading: string): Step[] {
  const lines = markdown.split('\n')
  const first = lines.indexOf(heading)
  if (first === -1) throw new Error(`The page has no line "${heading}"`)
  const rank = heading.indexOf(' ')
  const steps: Step[] = []
  for (let at = first + 1; at < lines.length; at++) {
    const line = lines[at] ?? ''
    if (/^#+ /.test(line) && line.indexOf(' ') <= rank) break
    const language = /^```(\w+)/.exec(line)?.[1]
    if (language === undefined) continue
    const end = lines.indexOf('```', at + 1)
    const text = lines.slice(at + 1, end).join('\n')
    const last = steps.at(-1)
    if (language === 'sh') steps.push({ line: at + 2, script: text, shown: undefined })
    else if (last && !last.shown && (language === 'json' || language === 'text')) {
      steps[steps.length - 1] = { ...last, shown: { language, text } }
    }
    at = end
  }
  return steps
}

/** Words of the page that stand for something of this run, such as a port. */
export type Replacements = Readonly<Record<string, string>>

export interface Session {
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
  readonly replacements: Replacements
  readonly timeoutMs: number
}

const separator = '\u001e'

/** What each step printed. @throws when bash itself fails or anything is written to stderr. */
export async function runSteps(steps: readonly Step[], session: Session): Promise<string[]> {
  const script = steps
    .map(({ script: text }) => `printf '${separator}'\n${replaced(text, session.replacements)}\n`)
    .join('')
  const child = spawn('bash', ['--noprofile', '--norc', '-s'], {
    cwd: session.cwd,
    env: session.env,
    stdio: ['pipe', 'pipe', 'pipe'],
    // A group of its own, so that what a step left running ends with it.
    detached: true,
  })
  const { pid } = child
  const killGroup = (): void => {
    try {
      if (pid !== undefined) process.kill(-pid, 'SIGKILL')
    } catch {
      // Nothing of it runs any more.
    }
  }
  let late = false
  const timer = setTimeout(() => {
    late = true
    killGroup()
  }, session.timeoutMs)
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  // A session that ends early does not read to the end of its script.
  child.stdin.on('error', () => {}).end(script)
  child.on('exit', killGroup)
  await new Promise((resolve) => child.on('close', resolve))
  clearTimeout(timer)
  const outputs = stdout.split(separator).slice(1)
  assert.ok(!late, `Not done after ${session.timeoutMs} ms. The last output:\n${outputs.at(-1)}`)
  assert.equal(stderr, '', `After:\n${outputs.at(-1)}`)
  assert.equal(outputs.length, steps.length, `It ended early. The last output:\n${outputs.at(-1)}`)
  return outputs
}

export function assertShown(step: Step, output: string, replacements: Replacements): void {
  if (step.shown === undefined) {
    assert.equal(output.trim(), '', `line ${step.line} prints what the page does not show`)
    return
  }
  const expected = replaced(step.shown.text, replacements)
  const where = `line ${step.line}, which printed:\n${output}\n`
  if (step.shown.language === 'text') {
    assert.match(output.trim(), patternOf(expected.trim()), where)
  } else {
    assertAlike(JSON.parse(expected), JSON.parse(output), '', where)
  }
}

function replaced(text: string, replacements: Replacements): string {
  return Object.entries(replacements).reduce(
    (result, [word, instead]) => result.replaceAll(word, instead),
    text,
  )
}

/** What a shown part stands for: anything in its line, some id, some time. */
const uuid = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
const time = '\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(?:\\.\\d+)?Z'
const standIn = new RegExp(`(…|${uuid}|${time})`)
/** Numbers that differ from run to run, by the name of their key. */
const variable = new Set(['id', 'index', 'ageMs', 'latencyMs'])

function patternOf(shown: string): RegExp {
  const lines = shown
    .split('\n')
    .map((line) => (line.trim() === '…' ? '[^]*?' : linePatternOf(line)))
  return new RegExp(`^${lines.join('\\n')}$`)
}

function linePatternOf(line: string): string {
  const parts = line.split(standIn).map((part, at) => {
    if (at % 2 === 0) {
      const literal = part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
      // The columns of a table are as wide as what is in them.
      return literal.replaceAll(/ {2,}/g, ' {2,}')
    }
    // Across lines it would pass over a line that the page does not show.
    if (part === '…') return '[^\\n]*?'
    return part.includes('T') ? time : uuid
  })
  return parts.join('')
}

function assertAlike(shown: unknown, actual: unknown, path: string, where: string): void {
  const what = `${path === '' ? 'the answer' : path} at ${where}`
  if (Array.isArray(shown)) {
    assert.ok(Array.isArray(actual) && actual.length === shown.length, what)
    for (const [at, item] of shown.entries()) {
      assertAlike(item, actual[at], `${path}/${at}`, where)
    }
  } else if (typeof shown === 'object' && shown !== null) {
    assert.ok(typeof actual === 'object' && actual !== null, what)
    assert.deepEqual(Object.keys(actual).toSorted(), Object.keys(shown).toSorted(), what)
    const values = new Map(Object.entries(actual))
    for (const [key, value] of Object.entries(shown)) {
      assertAlike(value, values.get(key), `${path}/${key}`, where)
    }
  } else if (typeof shown === 'string') {
    assert.equal(typeof actual, 'string', what)
    assert.match(String(actual), patternOf(shown), what)
  } else if (typeof shown === 'number' && variable.has(path.slice(path.lastIndexOf('/') + 1))) {
    assert.equal(typeof actual, 'number', what)
  } else assert.equal(actual, shown, what)
}
