/** The scrape token's file. Derived from the root, so it can be written again at any start. */
import path from 'node:path'
import type { Random, Secret } from '../../platform/crypto/index.ts'
import {
  fileTrouble,
  readPrivateFile,
  replacePrivateFile,
} from '../../platform/files/private-file.ts'

export async function provideMetricsToken(
  dataDir: string,
  token: Secret,
  random: Random,
): Promise<void> {
  const file = path.join(dataDir, 'metrics.token')
  const found = await readPrivateFile(file).catch((error: unknown) => {
    throw fileTrouble(file, error)
  })
  // A file with the right content keeps its mode: an operator may have let his Prometheus read it.
  if (found?.text.trimEnd() === token.reveal()) return
  await replacePrivateFile(file, `${token.reveal()}\n`, random)
}
