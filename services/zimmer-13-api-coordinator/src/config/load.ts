/**
 * Defaults, then `haus.yaml`, then the environment. Every mistake is told at once, with the name
 * that the operator wrote; an unknown key is a mistake, because a misspelt one would be silent.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { closestName, HausError, type FieldError } from '@haus/contract'
import { parse as parseYaml } from 'yaml'
import { Secret } from '../platform/crypto/index.ts'
import { foreignVariables, settings, type ListenAddress, type LogLevelName } from './settings.ts'
import type { Setting } from './settings.ts'
import { codeOf } from '../platform/errors/thrown.ts'

export interface Config {
  readonly apiAddr: ListenAddress
  readonly apiHosts: readonly string[]
  readonly gatewayAddr: ListenAddress
  readonly gatewayDomain: string
  /** Absolute. */
  readonly dataDir: string
  readonly databaseUrl: Secret | null
  /** Absolute. */
  readonly rootKeyFile: string
  readonly advertiseAllow: readonly string[]
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null
  readonly allowPlaintext: boolean
  readonly logLevel: LogLevelName
  /** Settings that are known and do nothing in this release. */
  readonly withoutEffect: readonly string[]
}

export interface ConfigSources {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** The file named by `--config`; without it `haus.yaml` in `cwd` is read if it is there. */
  readonly configFile?: string | undefined
}

type Settings = typeof settings
type Values = { [K in keyof Settings]: ReturnType<Settings[K]['parse']> | null }

/** @throws HausError config_invalid with one field per mistake. */
export function loadConfig(sources: ConfigSources): Config {
  const mistakes: FieldError[] = []
  const written = { ...readFile(sources, mistakes), ...readEnvironment(sources.env, mistakes) }
  const values = parseAll(written, mistakes)
  const databaseUrl = databaseUrlOf(values, sources.cwd, mistakes)
  const { tlsCertFile, tlsKeyFile } = values
  if ((tlsCertFile === null) !== (tlsKeyFile === null)) {
    mistakes.push({
      field: tlsCertFile === null ? settings.tlsCertFile.env : settings.tlsKeyFile.env,
      detail: 'must be set too: a certificate and its key go together',
    })
  }
  const { apiAddr, gatewayAddr, gatewayDomain } = values
  if (
    mistakes.length > 0 ||
    apiAddr === null ||
    gatewayAddr === null ||
    gatewayDomain === null ||
    values.dataDir === null
  ) {
    const list = mistakes.map(({ field, detail }) => `${field} ${detail}`).join('; ')
    throw new HausError('config_invalid', `The configuration is not valid: ${list}.`, {
      fields: mistakes,
    })
  }
  const dataDir = path.resolve(sources.cwd, values.dataDir)
  return Object.freeze({
    apiAddr,
    gatewayAddr,
    gatewayDomain,
    apiHosts: values.apiHosts ?? [],
    dataDir,
    databaseUrl: databaseUrl === null ? null : new Secret(databaseUrl),
    rootKeyFile:
      values.rootKeyFile === null
        ? path.join(dataDir, 'root.key')
        : path.resolve(sources.cwd, values.rootKeyFile),
    advertiseAllow: values.advertiseAllow ?? [],
    tls:
      tlsCertFile === null || tlsKeyFile === null
        ? null
        : {
            certFile: path.resolve(sources.cwd, tlsCertFile),
            keyFile: path.resolve(sources.cwd, tlsKeyFile),
          },
    allowPlaintext: values.allowPlaintext ?? false,
    logLevel: values.logLevel ?? 'info',
    withoutEffect: Object.entries(settings)
      .filter(([name, setting]) => 'later' in setting && name in written)
      .map(([, setting]) => setting.env),
  })
}

interface Written {
  /** As the operator wrote it: an environment name or a key of the file. */
  readonly field: string
  readonly text: string
}

type WrittenSettings = Partial<Record<keyof Settings, Written>>

function readEnvironment(env: ConfigSources['env'], mistakes: FieldError[]): WrittenSettings {
  const names = new Map(
    Object.entries(settings).map(([name, { env: variable }]) => [variable, name]),
  )
  const written: Record<string, Written> = {}
  for (const [field, text] of Object.entries(env)) {
    if (!field.startsWith('HAUS_') || foreignVariables.test(field) || text === undefined) continue
    const name = names.get(field)
    if (name === undefined)
      mistakes.push({ field, detail: `is not a setting${suggestion(field, [...names.keys()])}` })
    // An empty variable is how compose files and shells say "unset".
    else if (text !== '') written[name] = { field, text }
  }
  return written
}

function readFile(sources: ConfigSources, mistakes: FieldError[]): WrittenSettings {
  const { configFile, cwd } = sources
  const file = path.resolve(cwd, configFile ?? 'haus.yaml')
  let source: string
  try {
    source = readFileSync(file, 'utf8')
  } catch (cause) {
    if (configFile === undefined && codeOf(cause) === 'ENOENT') return {}
    throw new HausError('config_invalid', `The configuration file ${file} cannot be read.`, {
      cause,
    })
  }
  let content: unknown
  try {
    content = parseYaml(source) ?? {}
  } catch (cause) {
    throw new HausError('config_invalid', `The configuration file ${file} is not valid YAML.`, {
      cause,
    })
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new HausError(
      'config_invalid',
      `The configuration file ${file} must hold keys and values.`,
    )
  }
  const written: Record<string, Written> = {}
  for (const [key, value] of Object.entries(content)) {
    const field = `${path.basename(file)}: ${key}`
    if (!(key in settings)) {
      mistakes.push({ field, detail: `is not a setting${suggestion(key, Object.keys(settings))}` })
    } else if (Array.isArray(value)) {
      written[key] = { field, text: value.join(',') }
    } else if (['string', 'number', 'boolean'].includes(typeof value)) {
      written[key] = { field, text: String(value) }
    } else if (value !== null) {
      mistakes.push({ field, detail: 'must be a text, a number, a boolean or a list' })
    }
  }
  return written
}

function parseAll(written: WrittenSettings, mistakes: FieldError[]): Values {
  const values: Record<string, unknown> = {}
  for (const [name, setting] of Object.entries<Setting<unknown>>(settings)) {
    const given = written[name as keyof Settings]
    const text = given?.text ?? setting.defaultText
    values[name] = null
    if (text === null || text.startsWith('<')) continue
    try {
      values[name] = setting.parse(text)
    } catch (error) {
      const detail = error instanceof Error ? error.message : 'is not valid'
      mistakes.push({ field: given?.field ?? setting.env, detail })
    }
  }
  return values as Values
}

function databaseUrlOf(values: Values, cwd: string, mistakes: FieldError[]): string | null {
  const { databaseUrl, databaseUrlFile } = values
  if (databaseUrlFile === null) return databaseUrl
  const field = settings.databaseUrlFile.env
  if (databaseUrl !== null) {
    mistakes.push({ field, detail: `and ${settings.databaseUrl.env} are both set; keep one` })
    return null
  }
  try {
    return settings.databaseUrl.parse(
      readFileSync(path.resolve(cwd, databaseUrlFile), 'utf8').trim(),
    )
  } catch {
    mistakes.push({ field, detail: 'must name a readable file that holds a postgres:// URL' })
    return null
  }
}

function suggestion(name: string, known: readonly string[]): string {
  const closest = closestName(name, known)
  return closest === null ? '' : `; did you mean ${closest}?`
}
