/** Node's response, with the exchange it answers: events need no closure to find it. */
import { ServerResponse } from 'node:http'
import type { Exchange } from './exchange.ts'

export class GatewayResponse extends ServerResponse {
  exchange: Exchange | null = null
}
