import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rootCommand } from './commands/index.ts'
import type { Command } from './command.ts'
import { optionsOf } from './command.ts'
import { exitCodes, Failure } from './failure.ts'
import { findCommand, nameOf, parseArguments } from './parse-arguments.ts'

function parse(line: string) {
  const { path, words } = findCommand(rootCommand, line.split(' ').filter(Boolean))
  return { name: nameOf(path), args: parseArguments(path, words) }
}

function refusal(line: string): Failure {
  try {
    parse(line)
  } catch (error) {
    assert.ok(error instanceof Failure)
    assert.equal(error.exitCode, exitCodes.usage, line)
    return error
  }
  throw new Error(`${line} was taken`)
}

test('a command is found by its words, wherever its options stand', () => {
  for (const line of [
    'credentials create db --json password',
    '--json credentials create db password',
    'credentials --json create db password',
    '--url http://x credentials --token-file f create db password --json',
  ]) {
    const { name, args } = parse(line)
    assert.equal(name, 'haus credentials create', line)
    assert.deepEqual(args.positionals, ['db', 'password'], line)
    assert.equal(args.flag('json'), true, line)
  }
})

test('a service may have the name of a subcommand', () => {
  assert.equal(parse('services orders').name, 'haus services')
  const { name, args } = parse('services show rm')
  assert.equal(name, 'haus services show')
  assert.deepEqual(args.positionals, ['rm'])
})

test('an option that may come more than once keeps all, another one the last', () => {
  const { args } = parse('credentials create db --service a --service=b --from x --from y')
  assert.deepEqual(args.list('service'), ['a', 'b'])
  assert.equal(args.text('from'), 'y')
})

test('a misspelt command or option is answered with the one that was meant', () => {
  assert.match(refusal('stauts').hint ?? '', /haus status/)
  assert.match(refusal('credentials crate x').hint ?? '', /haus credentials create/)
  assert.match(refusal('audit --fallow').hint ?? '', /--follow/)
  assert.match(refusal('discover orders --sone a').hint ?? '', /--zone/)
})

test('missing, forgotten and superfluous arguments are named', () => {
  assert.match(refusal('discover').message, /needs NAME/)
  assert.match(refusal('discover a b').message, /takes one argument, and there are 2/)
  assert.match(refusal('status now').message, /takes no arguments/)
  assert.match(refusal('token issue orders --out').message, /--out needs a value/)
  assert.match(refusal('token issue orders --out --force').message, /--out needs a value/)
  assert.match(refusal('status --json=yes').message, /is a switch/)
})

test('a refusal never repeats the value of an argument', () => {
  const secret = 'hunter2-canary'
  for (const line of [
    `status --json=${secret}`,
    `status ${secret}`,
    `credentials ${secret}`,
    `discover a ${secret}`,
    secret,
  ]) {
    const { message, hint } = refusal(line)
    assert.doesNotMatch(`${message} ${hint}`, new RegExp(secret), line)
  }
})

test('help is never refused for what else is missing', () => {
  assert.equal(parse('discover --help').args.flag('help'), true)
  assert.equal(parse('credentials create -h').args.flag('help'), true)
})

test('the table of commands is consistent', () => {
  const walk = (command: Command, line: string): void => {
    const names = optionsOf(command).map(({ name }) => name)
    assert.equal(new Set(names).size, names.length, `${line}: an option twice`)
    assert.doesNotMatch(command.summary, /\.$/, line)
    const positionals = command.positionals ?? []
    const optionalFirst = positionals.findIndex(({ optional }) => optional)
    if (optionalFirst !== -1) {
      assert.ok(
        positionals.slice(optionalFirst).every(({ optional }) => optional),
        line,
      )
    }
    assert.ok(command.run !== undefined || (command.subcommands?.length ?? 0) > 0, line)
    for (const [example] of command.examples ?? []) assert.match(example, /haus /, line)
    for (const sub of command.subcommands ?? []) walk(sub, `${line} ${sub.name}`)
  }
  walk(rootCommand, 'haus')
})
