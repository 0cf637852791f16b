/**
 * The file system below PGlite, made to keep its word.
 *
 * As shipped, `fsync` in PGlite reaches nobody: PostgreSQL believes its commits are on disk, and a
 * power cut loses them all or leaves a folder that never opens again. Files would also be readable
 * by everybody, whatever the umask. It leans on an Emscripten internal, so PGlite is pinned to one
 * exact version and tests count the calls.
 */
import fs from 'node:fs'
import { NodeFS } from '@electric-sql/pglite/nodefs'

interface NodefsNode {
  readonly name: string
  readonly parent: NodefsNode
}

interface NodefsStream {
  readonly nfd: number
  readonly node: NodefsNode
}

interface Attributes {
  mode?: number
}

/** What is patched of Emscripten's NODEFS. */
interface Nodefs {
  convertNodeCode(error: unknown): number | undefined
  readonly node_ops: {
    mknod(parent: NodefsNode, name: string, mode: number, device: number): NodefsNode
    setattr(node: NodefsNode, attributes: Attributes): void
  }
  readonly stream_ops: {
    setattr(stream: NodefsStream, attributes: Attributes): void
    fsync?(stream: NodefsStream): number
  }
}

interface NodefsModule {
  readonly NODEFS: Nodefs
  readonly FS: { readonly ErrnoError: new (errno: number) => Error }
}

const walSegment = /^[0-9A-F]{24}$/
const ownerOnly = ~0o077
/** EIO in Emscripten's numbering. PostgreSQL answers a failed fsync with PANIC, which ends the process. */
const inputOutputError = 29

export class DurableNodeFS extends NodeFS {
  override async init(...args: Parameters<NodeFS['init']>): ReturnType<NodeFS['init']> {
    const { emscriptenOpts } = await super.init(...args)
    const patch = (mod: unknown): void => makeDurable(mod as NodefsModule)
    // Before the folder is mounted, so that no file is ever created through the unpatched layer.
    emscriptenOpts.preRun = [patch, ...(emscriptenOpts.preRun ?? [])]
    return { emscriptenOpts }
  }
}

function makeDurable({ NODEFS, FS }: NodefsModule): void {
  const { mknod, setattr } = NODEFS.node_ops
  NODEFS.node_ops.mknod = (parent, name, mode, device) =>
    mknod(parent, name, mode & ownerOnly, device)
  NODEFS.node_ops.setattr = (node, attributes) => setattr(node, forOwner(attributes))
  const setStreamAttributes = NODEFS.stream_ops.setattr
  NODEFS.stream_ops.setattr = (stream, attributes) =>
    setStreamAttributes(stream, forOwner(attributes))
  NODEFS.stream_ops.fsync = ({ nfd, node }) => {
    try {
      // WAL segments are allocated in full before use, so their data is all there is to flush:
      // the same choice PostgreSQL makes on Linux, and one journal commit less on ext4.
      if (node.parent.name === 'pg_wal' && walSegment.test(node.name)) fs.fdatasyncSync(nfd)
      else fs.fsyncSync(nfd)
      return 0
    } catch (error) {
      throw new FS.ErrnoError(NODEFS.convertNodeCode(error) ?? inputOutputError)
    }
  }
}

function forOwner(attributes: Attributes): Attributes {
  return attributes.mode === undefined
    ? attributes
    : { ...attributes, mode: attributes.mode & ownerOnly }
}
