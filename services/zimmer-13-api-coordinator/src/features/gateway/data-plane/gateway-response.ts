/** Node's response, with the exchange it answers: events need no closure to find it. */
import type { Exchange } from './exchange.ts'
import { http } from '../../../platform/http/node-http.ts'

export class GatewayResponse extends http.ServerResponse {
  exchange: Exchange | null = null
}
