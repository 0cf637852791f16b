/** A registry in memory for tests, under a key of theirs. */
import { createRegistryView, type RegistryView } from '../features/registry/index.ts'
import type { RegistryViewOptions } from '../features/registry/view.ts'
import { Secret } from '../platform/crypto/index.ts'
import type { Log } from '../platform/log/log.ts'
import { silentLog } from './databases.ts'

const rootKey = new Secret(Buffer.alloc(32, 7))

export function createTestView(options: Partial<RegistryViewOptions> = {}): RegistryView {
  return createRegistryView({
    rootKey,
    holdingsOf: () => ({ liveKeys: 0, grants: 0 }),
    log: silentLog as Log,
    ...options,
  })
}
