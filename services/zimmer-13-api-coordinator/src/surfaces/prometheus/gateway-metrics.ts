/** What the gateway's thread has counted, by service. It tells once a second; before that there is nothing. */
import { durationBoundsMs, type GatewayCounts } from '../../features/gateway/index.ts'

const classes = ['1xx', '2xx', '3xx', '4xx', '5xx']

interface Series {
  readonly name: string
  readonly type: 'counter' | 'gauge'
  readonly help: string
  readonly samples: readonly string[]
}

/** In the text exposition format. */
export function gatewayMetrics(counts: GatewayCounts | null): string {
  if (counts === null) return ''
  const { services, refused } = counts
  const one = (value: number): string[] => [` ${value}`]
  const each = (value: (service: GatewayCounts['services'][number]) => number): string[] =>
    services.map((service) => `{service="${service.service}"} ${value(service)}`)
  const series: Series[] = [
    {
      name: 'haus_gateway_connections',
      type: 'gauge',
      help: 'Of clients, open.',
      samples: one(counts.connections),
    },
    {
      name: 'haus_gateway_refused_total',
      type: 'counter',
      help: 'Requests that were answered before a service was known.',
      samples: byClass(refused).map(([status, count]) => `{status="${status}"} ${count}`),
    },
    {
      name: 'haus_gateway_log_lines_lost_total',
      type: 'counter',
      help: 'Lines of the request log that could not be written in time.',
      samples: one(counts.linesLost),
    },
    {
      name: 'haus_gateway_requests_total',
      type: 'counter',
      help: 'Answers by service and class of status; the source is who made them.',
      samples: services.flatMap(({ service, upstream, gateway }) => [
        ...requests(service, 'upstream', upstream),
        ...requests(service, 'gateway', gateway),
      ]),
    },
    {
      name: 'haus_gateway_retries_total',
      type: 'counter',
      help: 'Requests that were sent to a second instance.',
      samples: each(({ retries }) => retries),
    },
    {
      name: 'haus_gateway_ejections_total',
      type: 'counter',
      help: 'Breakers that opened.',
      samples: each(({ ejections }) => ejections),
    },
    {
      name: 'haus_gateway_active_requests',
      type: 'gauge',
      help: 'Under way.',
      samples: each(({ active }) => active),
    },
    {
      name: 'haus_gateway_open_breakers',
      type: 'gauge',
      help: 'Instances that are left alone.',
      samples: each(({ openBreakers }) => openBreakers),
    },
    {
      name: 'haus_gateway_request_bytes_total',
      type: 'counter',
      help: 'Of bodies, from clients.',
      samples: each(({ requestBytes }) => requestBytes),
    },
    {
      name: 'haus_gateway_answer_bytes_total',
      type: 'counter',
      help: 'Of bodies, from instances.',
      samples: each(({ answerBytes }) => answerBytes),
    },
  ]
  return [...series.map(textOf), durations(services)].join('')
}

function textOf({ name, type, help, samples }: Series): string {
  const lines = samples.map((sample) => `${name}${sample}\n`)
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`
}

function requests(service: string, source: string, counts: readonly number[]): string[] {
  return byClass(counts).map(
    ([status, count]) => `{service="${service}",source="${source}",status="${status}"} ${count}`,
  )
}

/** Series that never were are left out. */
function byClass(counts: readonly number[]): [status: string, count: number][] {
  return classes
    .map((status, place): [string, number] => [status, counts[place] ?? 0])
    .filter(([, count]) => count > 0)
}

function durations(services: GatewayCounts['services']): string {
  const name = 'haus_gateway_request_duration_seconds'
  const lines = [
    `# HELP ${name} From the head of a request to the last byte of its answer.`,
    `# TYPE ${name} histogram`,
  ]
  for (const { service, durations: counted, durationSumMs } of services) {
    const labels = `service="${service}"`
    let below = 0
    for (const [place, count] of counted.entries()) {
      below += count
      const bound = durationBoundsMs[place]
      const le = bound === undefined ? '+Inf' : String(bound / 1_000)
      lines.push(`${name}_bucket{${labels},le="${le}"} ${below}`)
    }
    lines.push(
      `${name}_sum{${labels}} ${durationSumMs / 1_000}`,
      `${name}_count{${labels}} ${below}`,
    )
  }
  return `${lines.join('\n')}\n`
}
