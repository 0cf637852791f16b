/** The process gets a SIGTERM while it loads the house. */
import { registerHooks } from 'node:module'

registerHooks({
  load(url, context, next) {
    if (url.endsWith('/src/haus.ts')) process.kill(process.pid, 'SIGTERM')
    return next(url, context)
  },
})
