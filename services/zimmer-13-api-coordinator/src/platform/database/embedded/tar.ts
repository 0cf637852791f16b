/**
 * The little of the tar format (ustar) that the seed archive needs: folders and plain files with
 * short names, read as a stream. It refuses everything else, links and paths that climb included.
 */

export type TarEntry =
  | { readonly kind: 'folder'; readonly name: string }
  | { readonly kind: 'file'; readonly name: string; readonly content: AsyncIterable<Buffer> }

const blockBytes = 512

/** Each file's content must be read to its end before the next entry is asked for. */
export async function* readTar(source: AsyncIterable<Buffer>): AsyncGenerator<TarEntry> {
  const bytes = new ByteQueue(source)
  for (;;) {
    const header = await bytes.read(blockBytes)
    if (header[0] === 0) return
    const name = text(header, 0, 100)
    if (!/^[\w.-]+(\/[\w.-]+)*$/.test(name) || name.split('/').includes('..')) {
      throw new Error(`the archive holds an unexpected name: ${JSON.stringify(name)}`)
    }
    const type = text(header, 156, 1)
    if (type === '5') {
      yield { kind: 'folder', name }
      continue
    }
    if (type !== '0') throw new Error(`the archive holds an entry of unexpected type ${type}`)
    const sizeBytes = Number.parseInt(text(header, 124, 12), 8)
    yield { kind: 'file', name, content: bytes.stream(sizeBytes) }
    await bytes.read((blockBytes - (sizeBytes % blockBytes)) % blockBytes)
  }
}

/** One header and, for files, the content padded to whole blocks. */
export function tarBlocks(name: string, content: Uint8Array | undefined): Buffer[] {
  if (Buffer.byteLength(name) > 100) throw new Error(`${name} is too long for the archive`)
  const header = Buffer.alloc(blockBytes)
  header.write(name, 0)
  header.write(content ? '0000600\0' : '0000700\0', 100)
  header.write('0000000\0', 108)
  header.write('0000000\0', 116)
  header.write(`${(content?.length ?? 0).toString(8).padStart(11, '0')}\0`, 124)
  header.write('00000000000\0', 136)
  header.write(' '.repeat(8), 148)
  header.write(content ? '0' : '5', 156)
  header.write('ustar\u000000', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  if (!content) return [header]
  const padding = Buffer.alloc((blockBytes - (content.length % blockBytes)) % blockBytes)
  return [header, Buffer.from(content), padding]
}

/** What ends an archive. */
export const tarEnd = Buffer.alloc(2 * blockBytes)

function text(header: Buffer, start: number, length: number): string {
  const field = header.subarray(start, start + length)
  const end = field.indexOf(0)
  return field.toString('utf8', 0, end < 0 ? length : end)
}

class ByteQueue {
  readonly #source: AsyncIterator<Buffer>
  #chunk: Buffer = Buffer.alloc(0)

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** The next `sizeBytes`, in pieces as they come. */
  async *stream(sizeBytes: number): AsyncGenerator<Buffer> {
    let left = sizeBytes
    while (left > 0) {
      if (this.#chunk.length === 0) {
        const next = await this.#source.next()
        if (next.done) throw new Error('the archive ends too early')
        this.#chunk = next.value
      }
      const piece = this.#chunk.subarray(0, left)
      this.#chunk = this.#chunk.subarray(piece.length)
      left -= piece.length
      yield piece
    }
  }

  async read(sizeBytes: number): Promise<Buffer> {
    const pieces: Buffer[] = []
    for await (const piece of this.stream(sizeBytes)) pieces.push(piece)
    return Buffer.concat(pieces)
  }
}
