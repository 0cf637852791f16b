export { auditOf, auditOfRefusal } from './entry.ts'
export { auditRoutes } from './routes.ts'
