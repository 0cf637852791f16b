/**
 * The operator's token: one secret that may do everything, in `<data dir>/operator.token`.
 *
 * The database has only its keyed hash, so a lost file cannot be written again, only replaced. The
 * file comes before the row; a new token waits under a second name until its row is committed, and
 * a start finishes what a crash left half-done.
 */
import path from 'node:path'
import { chmod, rm } from 'node:fs/promises'
import { Secret, type Random } from '../../platform/crypto/index.ts'
import type { Log } from '../../platform/log/log.ts'
import { operatorTokenPrefix } from './identity-keys.ts'
import {
  createPrivateFile,
  fileTrouble,
  readPrivateFile,
  removeLeftovers,
  renamePrivateFile,
  replacePrivateFile,
} from '../../platform/files/private-file.ts'

const tokenSizeBytes = 32
const form = new RegExp(`^${operatorTokenPrefix}[A-Za-z0-9_-]{43}$`)
const renewCommand = 'npm start -- --renew-operator-token'

export function operatorTokenFile(dataDir: string): string {
  return path.join(dataDir, 'operator.token')
}

function nextTokenFile(dataDir: string): string {
  return path.join(dataDir, 'operator.token.new')
}

function makeToken(random: Random): Secret {
  return new Secret(`${operatorTokenPrefix}${random.bytes(tokenSizeBytes).toString('base64url')}`)
}

async function readToken(file: string): Promise<Secret | 'missing' | 'malformed'> {
  try {
    const found = await readPrivateFile(file)
    if (found === undefined) return 'missing'
    const text = found.text.trimEnd()
    return form.test(text) ? new Secret(text) : 'malformed'
  } catch (error) {
    throw fileTrouble(file, error)
  }
}

/** For a house that has no token yet: takes the one in the file, which a crash may have left there. */
export async function provideOperatorToken(dataDir: string, random: Random): Promise<Secret> {
  const file = operatorTokenFile(dataDir)
  const found = await readToken(file)
  if (found instanceof Secret) return found
  const token = makeToken(random)
  const text = `${token.reveal()}\n`
  if (found === 'malformed') await replacePrivateFile(file, text, random)
  else if (!(await createPrivateFile(file, text, random))) {
    return provideOperatorToken(dataDir, random)
  }
  return token
}

/** The first half of a renewal: durable, and not yet in force. */
export async function prepareNextToken(dataDir: string, random: Random): Promise<Secret> {
  const token = makeToken(random)
  await replacePrivateFile(nextTokenFile(dataDir), `${token.reveal()}\n`, random)
  return token
}

/** The second half, after the commit. */
export async function adoptNextToken(dataDir: string): Promise<string> {
  const file = operatorTokenFile(dataDir)
  try {
    await renamePrivateFile(nextTokenFile(dataDir), file)
  } catch (error) {
    throw fileTrouble(file, error)
  }
  return file
}

export async function dropNextToken(dataDir: string): Promise<void> {
  await rm(nextTokenFile(dataDir), { force: true })
}

/** At each start: finishes a renewal, and says once what an operator must know about his file. */
export async function settleOperatorToken(
  dataDir: string,
  isLive: (token: string) => boolean,
  log: Log,
): Promise<void> {
  const file = operatorTokenFile(dataDir)
  const next = await readToken(nextTokenFile(dataDir))
  if (next !== 'missing') {
    if (next instanceof Secret && isLive(next.reveal())) await adoptNextToken(dataDir)
    else await dropNextToken(dataDir)
  }
  const found = await readToken(file)
  if (found === 'missing') {
    log.warn(
      { file },
      `the operator token is not here; it is where this house was first opened, and if it is lost there too, stop Haus and run: ${renewCommand}`,
    )
    return
  }
  if (found === 'malformed' || !isLive(found.reveal())) {
    log.warn(
      { file },
      `the operator token in this file is not one of this house; to get a new one, stop Haus and run: ${renewCommand}`,
    )
    return
  }
  await removeLeftovers(file)
  await closeToOthers(file, log)
}

async function closeToOthers(file: string, log: Log): Promise<void> {
  const found = await readPrivateFile(file)
  if (!found?.own || (found.mode & 0o077) === 0) return
  await chmod(file, 0o600)
  log.warn(
    { file, mode: found.mode.toString(8) },
    `the operator token could be read by other users; the file is now 0600, and if somebody may have read it, run: ${renewCommand}`,
  )
}
