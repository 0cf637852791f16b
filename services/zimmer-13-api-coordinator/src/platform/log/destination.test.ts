import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogDestination } from './destination.ts'
import { createLog } from './log.ts'

test('lines that cannot be written are counted, and told of once when the log works again', () => {
  let full = false
  const written: string[] = []
  const destination = createLogDestination({
    on: (_event, listen) => listen,
    write(text: string, done: (error?: Error | null) => void) {
      if (!full) written.push(text)
      done(full ? new Error('no space left') : null)
      return true
    },
  })
  const log = createLog({ level: 'info', destination })
  destination.onMended = (lost) => log.warn({ lost }, 'lines are missing')
  log.info('one')
  full = true
  log.info('two')
  destination.write('three\nfour\n')
  full = false
  log.info('five')
  log.info('six')
  assert.deepEqual(
    written.map((line) => [JSON.parse(line).msg, JSON.parse(line).lost]),
    [
      ['one', undefined],
      ['five', undefined],
      ['lines are missing', 3],
      ['six', undefined],
    ],
  )
  assert.equal(destination.lost, 3)
})
