/** Rows of the gateway: published routes. What it sees of traffic lives in memory. */
export interface GatewayTables {
  gateway_route: {
    id: string
    /** Empty: every host. */
    host: string
    path_prefix: string
    /** In order, joined by commas; empty: all of them. */
    methods: string
    service: string
    strip_prefix: boolean
    body_max_bytes: number
    retry_idempotency_key: boolean
    revision: number
    created_at: Date
    updated_at: Date
  }
}
