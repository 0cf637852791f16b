export { auditOf, auditOfRefusal } from './entry.ts'
