/**
 * What the house rules ban and no linter knows: hidden clocks and chance in domain code, timers
 * outside the platform, prints, forgotten notes, places on somebody's machine, tests that are
 * switched off without saying why, and files that grew without anybody deciding it.
 *
 * It reads one file at a time and knows no exceptions by file name, only by layer.
 */
import path from 'node:path'
import { parseSync, Visitor } from 'oxc-parser'

export type Untidy = { readonly rule: string; readonly line: number }

/** Past this a file holds more than one idea, or says in its opening comment why it does not. */
const lineLimit = 600
const lengthReason = /Longer than 600 lines because \S+/

export function findUntidy(file: string, source: string): Untidy[] {
  const found = findInText(file, source)
  if (/\.(ts|tsx|mjs)$/.test(file)) found.push(...findInCode(file, source))
  return found.toSorted((a, b) => a.line - b.line)
}

// In pieces, so that this file obeys itself.
const textRules: readonly { rule: string; pattern: RegExp }[] = [
  {
    rule: 'a forgotten note',
    pattern: new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME'].join('|')})\\b`),
  },
  {
    rule: 'a path on one machine',
    pattern: /(?<![\w.~*}-])\/(home|Users|root|work)\/[\w.-]+|\b[A-Z]:\\Users\\/,
  },
  { rule: 'a package registry by name', pattern: /https?:\/\/(registry|npm)\.[\w-]+\.\w+/ },
  {
    rule: 'a lint rule switched off without " -- reason"',
    pattern: /(oxlint|eslint)-disable(?!.* -- \S)(?=[\w\s-]*\S)/,
  },
]

function findInText(file: string, source: string): Untidy[] {
  const lines = source.split('\n')
  const found: Untidy[] = []
  for (const [index, line] of lines.entries()) {
    for (const { rule, pattern } of textRules) {
      if (pattern.test(line)) found.push({ rule, line: index + 1 })
    }
  }
  const isCode = /\.(ts|tsx|mjs|js|css|html|sh)$/.test(file)
  if (isCode && lines.length > lineLimit && !lengthReason.test(source)) {
    found.push({
      rule: 'more than 600 lines without "Longer than 600 lines because …"',
      line: lineLimit,
    })
  }
  return found
}

const timers = new Set(['setTimeout', 'setInterval', 'setImmediate'])
const runners = new Set(['test', 'it', 'describe', 'suite', 't'])

function findInCode(file: string, source: string): Untidy[] {
  const found: Untidy[] = []
  const { program, errors, module } = parseSync(file, source)
  const [error] = errors
  if (error !== undefined) throw new Error(`${file}: ${error.message}`)
  const add = (rule: string, offset: number): void => {
    found.push({ rule, line: source.slice(0, offset).split('\n').length })
  }

  const isTest = /\.test\.tsx?$/.test(file)
  const testing = isTest || file.includes('/src/testing/')
  const shipped = /^(packages|services)\/[^/]+\/src\//.test(file) && !testing
  const isMain = path.posix.basename(file) === 'main.ts'
  const noTimers = shipped && !isMain && !file.includes('/src/platform/')
  const noClock = shipped && /\/src\/(features|surfaces)\//.test(file)
  const noConsole = (shipped || isTest) && !isMain

  if (noTimers) {
    for (const { moduleRequest, start } of module.staticImports) {
      if (/^(node:)?timers(\/promises)?$/.test(moduleRequest.value)) add('a bare timer', start)
    }
  }
  new Visitor({
    CallExpression({ callee, arguments: given, start }) {
      if (callee.type === 'Identifier') {
        if (noTimers && timers.has(callee.name)) add('a bare timer', start)
        if (noClock && callee.name === 'Date') add('the clock of the machine', start)
      }
      if (callee.type !== 'MemberExpression' || callee.computed) return
      const { object, property } = callee
      if (object.type !== 'Identifier' || property.type !== 'Identifier') return
      const name = `${object.name}.${property.name}`
      if (noTimers && object.name === 'globalThis' && timers.has(property.name)) {
        add('a bare timer', start)
      }
      if (noClock && ['Date.now', 'performance.now'].includes(name)) {
        add('the clock of the machine', start)
      }
      if (noClock && ['Math.random', 'crypto.randomUUID'].includes(name)) {
        add('chance that is not injected', start)
      }
      if (noConsole && object.name === 'console') add('a print to the console', start)
      if (isTest && runners.has(object.name)) {
        if (property.name === 'only') add('a test that hides the others', start)
        const hasReason = object.name === 't' && given[0] !== undefined
        if (['skip', 'todo'].includes(property.name) && !hasReason) {
          add('a test switched off without a reason', start)
        }
      }
    },
    NewExpression({ callee, arguments: given, start }) {
      const isDate = callee.type === 'Identifier' && callee.name === 'Date'
      if (noClock && isDate && given.length === 0) add('the clock of the machine', start)
    },
    Property({ key, value, start }) {
      if (!isTest || key.type !== 'Identifier' || value.type !== 'Literal') return
      if (key.name === 'only' && value.value === true) add('a test that hides the others', start)
      if (['skip', 'todo'].includes(key.name) && (value.value === true || value.value === '')) {
        add('a test switched off without a reason', start)
      }
    },
  }).visit(program)
  return found
}
