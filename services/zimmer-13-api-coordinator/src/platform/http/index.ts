export type { Caller, RequestContext } from './caller.ts'
export { notOwn } from './not-own.ts'
export { createRoutes } from './routes.ts'
export type { RequestDone } from './exchange.ts'
export type { Answer, Call, Handler, RequestInfo, Routes, RoutesOptions } from './routes.ts'
export { createHttpServer } from './server.ts'
export type {
  HttpLimits,
  HttpServer,
  HttpServerOptions,
  ListenAddress,
  Listening,
} from './server.ts'
