/** Rows of the registry: what survives a restart. Leases and probe results live in memory. */
import type { ColumnType, Generated } from 'kysely'

type Json<T> = ColumnType<T, string, string>

export interface RegistryTables {
  service: {
    name: string
    aliases: string[]
    /** Of name and aliases; null without any. */
    aliases_mac: Buffer | null
    /** Null: every service may call it. */
    callers: string[] | null
    dependencies: string[]
    endpoints: Json<unknown[]>
    health_interval_seconds: Generated<number>
    revision: number
    modified_index: number
    created_at: Date
  }
  service_config: {
    service: string
    version: number
    data: Json<Record<string, unknown>>
    updated_at: Date
  }
  instance: {
    id: string
    service: string
    incarnation: number
    version: string
    address: string
    port: number
    scheme: 'http' | 'https' | 'tcp'
    health_endpoint: string | null
    state: string
    reason: string | null
    weight: number
    zone: string | null
    tags: string[]
    metadata: Json<Record<string, string>>
    leased: boolean
    draining: boolean
    maintenance: boolean
    revision: number
    modified_index: number
    registered_at: Date
    state_changed_at: Date
    /** Checkpointed in batches; never written per heartbeat. */
    last_seen_at: Date
  }
}
