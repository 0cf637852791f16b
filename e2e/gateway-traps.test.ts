/**
 * The traps of the front door: what has gone wrong in other gateways, each with a test named after
 * it. Bytes go in on one side, and every byte that reaches a service on the other is looked at.
 *
 * The themes share one house, since each start costs seconds.
 */
import { after } from 'node:test'
import { openFrontDoor } from './gateway/front-door.ts'
import { ownNames } from './gateway/own-names.ts'
import { authentication } from './gateway/traps/auth.ts'
import { headers } from './gateway/traps/headers.ts'
import { beginWaiting, limits } from './gateway/traps/limits.ts'
import { requestParsing } from './gateway/traps/parsing.ts'
import { paths } from './gateway/traps/paths.ts'
import { relay } from './gateway/traps/relay.ts'
import { forgedUpstreams } from './gateway/traps/ssrf.ts'
import { streaming } from './gateway/traps/streaming.ts'
import { misbehavingUpstreams } from './gateway/traps/upstreams.ts'

const names = ownNames()
const door = await openFrontDoor({ env: names.env })
after(async () => {
  await door[Symbol.asyncDispose]()
  names[Symbol.dispose]()
})

const patience = beginWaiting(door)
await requestParsing(door)
await paths(door)
await headers(door)
await authentication(door)
forgedUpstreams(door, names)
misbehavingUpstreams(door)
streaming(door)
relay(door)
await limits(door, patience)
