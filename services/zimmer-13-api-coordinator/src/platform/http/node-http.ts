/**
 * `node:http` without what it brings along. Imported as an ES module it is asked for every one of
 * its exports, three of which load the whole of undici: 75 ms of processor time in each thread of
 * the house, for classes that nobody here uses.
 */
import type * as nodeHttp from 'node:http'
import { createRequire } from 'node:module'

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the type of the module of this name
export const http = createRequire(import.meta.url)('node:http') as typeof nodeHttp
