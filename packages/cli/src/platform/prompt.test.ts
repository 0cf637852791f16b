import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { Failure } from '../failure.ts'
import { askLine } from './prompt.ts'

function terminal() {
  const modes: boolean[] = []
  let shown = ''
  const stdin = Object.assign(new PassThrough(), {
    isTTY: true,
    setRawMode: (on: boolean) => modes.push(on),
  })
  const stderr = {
    isTTY: true,
    columns: 80,
    write: (text: string) => {
      shown += text
    },
  }
  return { stdin, stderr, modes, shown: () => shown }
}

test('a secret is never shown while it is typed, and the terminal is put back', async () => {
  const { stdin, stderr, modes, shown } = terminal()
  const answer = askLine({ stdin, stderr }, 'password: ', 'hidden')
  stdin.write('hunX\u007fter')
  stdin.write('2\r')
  assert.equal(await answer, 'hunter2')
  assert.equal(shown(), 'password: \n')
  assert.deepEqual(modes, [true, false])
})

test('a paste answers the next question too, and letters may come in pieces', async () => {
  const { stdin, stderr } = terminal()
  const first = askLine({ stdin, stderr }, 'a: ', 'hidden')
  stdin.write('one\r\ntw')
  assert.equal(await first, 'one')
  const second = askLine({ stdin, stderr }, 'b: ', 'hidden')
  const letter = Buffer.from('ö')
  stdin.write(letter.subarray(0, 1))
  stdin.write(letter.subarray(1))
  stdin.write('\n')
  assert.equal(await second, 'twö')
})

test('Ctrl-C and the end of the input end the question, with the exit code of a shell', async () => {
  const first = terminal()
  const interrupted = askLine(first, 'sure? ', 'shown')
  first.stdin.write('ye\u0003')
  await assert.rejects(interrupted, (error) => error instanceof Failure && error.exitCode === 130)
  assert.deepEqual(first.modes, [true, false])

  const second = terminal()
  const ended = askLine(second, 'sure? ', 'shown')
  second.stdin.end()
  await assert.rejects(ended, /ended before an answer/)
})
