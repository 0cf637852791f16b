/**
 * What a service knows of its house, kept for its next start: encrypted, bound to its house and to
 * itself, replaced as a whole.
 *
 * The key comes from the client secret, so the file is worth nothing without secret zero, and ends
 * with it. A file that is damaged, foreign or of another format is ignored with a warning: the
 * house has everything that is in it. Nothing here ever fails a start.
 *
 *   8 bytes "HAUSKIT1" | 32 bytes salt | 12 bytes nonce | ciphertext | 16 bytes tag
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import fs from 'node:fs/promises'
import path from 'node:path'
import type { Clock } from '../platform/clock.ts'
import { nameOf, type Log } from '../platform/log.ts'
import { codeOf } from '../platform/secret-file.ts'
import type { Secret } from '../platform/secret.ts'

/** Changes with the meaning of what is inside; an older file is then ignored. */
const format = Buffer.from('HAUSKIT1')
const saltBytes = 32
const nonceBytes = 12
const tagBytes = 16
const overheadBytes = format.length + saltBytes + nonceBytes + tagBytes
/** 64 credentials of 64 KiB, the configuration, and the instances of a large house. */
export const cacheLimitBytes = 8 * 1024 * 1024
/** Changes come in bursts, such as a rollout; one file for each burst is enough. */
const quietMs = 200

export interface CacheIdentity {
  /** Where the house is. */
  readonly url: string
  readonly service: string
  readonly clientId: string
}

export interface CacheFile {
  /** What was saved last; undefined when there is nothing that can be used. */
  load(): Promise<unknown>
  /** Soon, and only what is true by then. */
  changed(): void
  /** Now, if anything has changed. */
  flush(): Promise<void>
}

export interface CacheFileOptions {
  readonly file: string
  readonly identity: CacheIdentity
  /** Read at each use: the file of the secret may have been replaced. */
  readonly secret: () => Promise<Secret>
  readonly snapshot: () => unknown
  readonly clock: Clock
  readonly log: Log
}

export function createCacheFile(options: CacheFileOptions): CacheFile {
  const { file, identity, secret, snapshot, clock, log } = options
  let cancel: (() => void) | undefined
  let dirty = false
  let writing: Promise<void> = Promise.resolve()
  let complained = false

  async function write(): Promise<void> {
    if (!dirty) return
    dirty = false
    try {
      const plain = Buffer.from(JSON.stringify(snapshot()))
      if (plain.length + overheadBytes > cacheLimitBytes) {
        throw new CacheTooLarge(`more than ${cacheLimitBytes} bytes`)
      }
      await replace(file, seal(plain, await secret(), identity))
      plain.fill(0)
      complained = false
    } catch (error) {
      if (complained) return
      complained = true
      log(
        'warn',
        'The cache cannot be written: a start while the house is away would wait for it.',
        {
          file,
          reason: nameOf(error),
        },
      )
    }
  }

  function save(): Promise<void> {
    cancel?.()
    cancel = undefined
    writing = writing.then(write)
    return writing
  }

  return {
    async load() {
      try {
        const sealed = await readBounded(file)
        const plain = open(sealed, await secret(), identity)
        const value: unknown = JSON.parse(plain.toString('utf8'))
        plain.fill(0)
        return value
      } catch (error) {
        if (codeOf(error) === 'ENOENT') return undefined
        const reason = error instanceof CacheUnusable ? error.message : nameOf(error)
        log('warn', 'The cache is ignored.', { file, reason })
        return undefined
      }
    },

    changed() {
      dirty = true
      cancel ??= clock.after(quietMs, () => void save())
    },

    flush: save,
  }
}

class CacheUnusable extends Error {
  override readonly name = 'CacheUnusable'
}

class CacheTooLarge extends Error {
  override readonly name = 'CacheTooLarge'
}

function keyOf(secret: Secret, salt: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', secret.reveal(), salt, 'haus sdk cache v1', 32))
}

/** Whose file it is, beside the key: one service's file cannot stand in for another's. */
function additionalData({ url, service, clientId }: CacheIdentity): Buffer {
  return Buffer.from(JSON.stringify([format.toString(), url, service, clientId]))
}

function seal(plain: Buffer, secret: Secret, identity: CacheIdentity): Buffer {
  const salt = randomBytes(saltBytes)
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', keyOf(secret, salt), nonce)
  cipher.setAAD(additionalData(identity))
  const body = Buffer.concat([cipher.update(plain), cipher.final()])
  return Buffer.concat([format, salt, nonce, body, cipher.getAuthTag()])
}

function open(sealed: Buffer, secret: Secret, identity: CacheIdentity): Buffer {
  if (sealed.length < overheadBytes || !sealed.subarray(0, format.length).equals(format)) {
    throw new CacheUnusable('it is not in the format of this version')
  }
  let at = format.length
  const take = (length: number): Buffer => sealed.subarray(at, (at += length))
  const salt = take(saltBytes)
  const nonce = take(nonceBytes)
  const body = take(sealed.length - overheadBytes)
  const decipher = createDecipheriv('aes-256-gcm', keyOf(secret, salt), nonce, {
    authTagLength: tagBytes,
  })
  decipher.setAAD(additionalData(identity))
  decipher.setAuthTag(take(tagBytes))
  try {
    return Buffer.concat([decipher.update(body), decipher.final()])
  } catch {
    throw new CacheUnusable('it is damaged, or of another service, house or key')
  }
}

async function readBounded(file: string): Promise<Buffer> {
  // Not through a link: somebody else could have put it there.
  const handle = await fs.open(file, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0))
  try {
    const stat = await handle.stat()
    if (!stat.isFile()) throw new CacheUnusable('it is not a file')
    if (stat.size > cacheLimitBytes) {
      throw new CacheUnusable(`it is larger than ${cacheLimitBytes} bytes`)
    }
    return await handle.readFile()
  } finally {
    await handle.close()
  }
}

/** Whole and durable, or as before: a crash in between leaves the old file. */
async function replace(file: string, content: Buffer): Promise<void> {
  const folder = path.dirname(file)
  await fs.mkdir(folder, { recursive: true, mode: 0o700 })
  const temporary = path.join(
    folder,
    `.${path.basename(file)}.${randomBytes(8).toString('hex')}.tmp`,
  )
  try {
    const handle = await fs.open(temporary, 'wx', 0o600)
    try {
      await handle.writeFile(content)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await fs.rename(temporary, file)
  } catch (error) {
    await fs.rm(temporary, { force: true })
    throw error
  }
}
