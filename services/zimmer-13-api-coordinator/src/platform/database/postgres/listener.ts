/**
 * LISTEN on a connection of its own, opened with the first subscription and opened again whenever
 * it is lost. What is sent while it is away is lost: subscribers poll besides.
 */
import pg from 'pg'
import type { Log } from '../database.ts'
import { Notifications } from '../notifications.ts'

export interface Listener {
  listen(channel: string, onNotify: (payload: string) => void): Promise<() => Promise<void>>
  close(): Promise<void>
}

const firstRetryMs = 100
const longestRetryMs = 5_000

export function startListener(options: {
  readonly config: pg.ClientConfig
  readonly log: Log
}): Listener {
  const { config, log } = options
  const notifications = new Notifications()
  let client: pg.Client | undefined
  let connecting: Promise<pg.Client> | undefined
  let retry: NodeJS.Timeout | undefined
  let retryMs = firstRetryMs
  let closed = false

  const connect = async (): Promise<pg.Client> => {
    const fresh = new pg.Client(config)
    fresh.on('notification', ({ channel, payload }) =>
      notifications.deliver(channel, payload ?? ''),
    )
    fresh.on('error', (error) => log.warn({ err: error }, 'database listener connection lost'))
    fresh.on('end', () => {
      if (client !== fresh) return
      client = undefined
      reconnectLater()
    })
    try {
      await fresh.connect()
      for (const channel of notifications.channels()) {
        await fresh.query(`listen ${pg.escapeIdentifier(channel)}`)
      }
      if (closed) throw new Error('the database is closed')
    } catch (error) {
      fresh.end().catch(() => {})
      throw error
    }
    client = fresh
    retryMs = firstRetryMs
    return fresh
  }

  const connected = (): Promise<pg.Client> => {
    if (client) return Promise.resolve(client)
    connecting ??= connect().finally(() => {
      connecting = undefined
    })
    return connecting
  }

  const reconnectLater = (): void => {
    if (closed || retry || notifications.channels().length === 0) return
    retry = setTimeout(() => {
      retry = undefined
      connected().catch(reconnectLater)
    }, retryMs).unref()
    retryMs = Math.min(retryMs * 2, longestRetryMs)
  }

  const run = async (statement: string): Promise<void> => {
    const current = await connected()
    await current.query(statement)
  }

  return {
    listen: async (channel, onNotify) => {
      if (notifications.add(channel, onNotify)) {
        try {
          await run(`listen ${pg.escapeIdentifier(channel)}`)
        } catch (error) {
          notifications.remove(channel, onNotify)
          throw error
        }
      }
      return async () => {
        if (!notifications.remove(channel, onNotify) || !client) return
        // A lost connection forgets the channel by itself.
        await client.query(`unlisten ${pg.escapeIdentifier(channel)}`).catch(() => {})
      }
    },
    close: async () => {
      closed = true
      clearTimeout(retry)
      await connecting?.catch(() => {})
      const last = client
      client = undefined
      await last?.end()
    },
  }
}
