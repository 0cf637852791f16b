/**
 * Identity: who may open the house, who may ask, and proof of both. The order of opening:
 * `openHouse` (root key, no ledger yet), `createIdentityView` (a projection for the ledger),
 * `createIdentity` (needs the ledger), and once the ledger has started, `identity.start()`.
 */
export { openHouse, sealRowsOfBefore, type House } from './house.ts'
export { createIdentityView, type IdentityView, type KeyChange } from './identity-view.ts'
export { operatorTokenFile } from './operator-token.ts'
export { identityRoutes } from './routes.ts'
export { createIdentity, type Identity } from './service.ts'
