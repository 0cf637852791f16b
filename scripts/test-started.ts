/**
 * Loaded before a test file: notes the name of the test that starts, at once. The reporter hears
 * of a test only when the event loop turns, which it never does when that test blocks the thread.
 */
import { subscribe } from 'node:diagnostics_channel'
import { writeFileSync } from 'node:fs'

const file = process.env['HAUS_TEST_STARTED_FILE']
subscribe('tracing:node.test:start', (message) => {
  const isNamed = typeof message === 'object' && message !== null && 'name' in message
  if (file !== undefined && isNamed && message.name !== '<root>') {
    writeFileSync(file, String(message.name))
  }
})
