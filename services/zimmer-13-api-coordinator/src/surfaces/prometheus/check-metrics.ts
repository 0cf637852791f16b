/** The monitor's own work, and what it makes of each service. Read when Prometheus asks. */
import { instanceStates, type InstanceState } from '@haus/contract'
import type { Distribution, MonitorReport } from '../../features/health/index.ts'
import type { HouseSnapshot, InstanceRecord } from '../../features/registry/index.ts'

/** In the text exposition format. */
export function checkMetrics(report: MonitorReport): string {
  const { statistics } = report
  const outcomes = Object.entries(statistics.outcomes).map(
    ([outcome, count]) => [`{outcome="${outcome}"}`, count] as const,
  )
  return [
    ...series('haus_checks_total', 'counter', 'Health checks by what they found.', outcomes),
    ...series('haus_checks_under_way', 'gauge', 'Checks that wait for an answer; 64 at most.', [
      ['', report.underWay],
    ]),
    ...series('haus_checks_overdue', 'gauge', 'Checks that are due and wait for a place.', [
      ['', report.overdue()],
    ]),
    ...series(
      'haus_check_results_dropped_total',
      'counter',
      'Results that made room for newer ones before they could be written.',
      [['', report.resultsDropped]],
    ),
    ...histogram(
      'haus_check_duration_seconds',
      'From the start of a check to what it found.',
      statistics.durations,
    ),
    ...histogram(
      'haus_check_lateness_seconds',
      'How long after its due time a check began; without those of instances that have just come.',
      statistics.lateness,
    ),
    '',
  ].join('\n')
}

/** Services are few and named by their owner, 2,000 at most: 16,000 series in the largest house. */
export function serviceMetrics(
  house: HouseSnapshot,
  stateOf: (instance: InstanceRecord) => InstanceState,
): string {
  const samples: [string, number][] = []
  for (const [name, { instances }] of house.services) {
    const counts = new Map<InstanceState, number>(instanceStates.map((state) => [state, 0]))
    for (const instance of instances) {
      const state = stateOf(instance)
      counts.set(state, (counts.get(state) ?? 0) + 1)
    }
    for (const [state, count] of counts) {
      samples.push([`{service="${name}",state="${state}"}`, count])
    }
  }
  const help = 'Instances of each service by state.'
  return [...series('haus_service_instances', 'gauge', help, samples), ''].join('\n')
}

function series(
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  samples: readonly (readonly [labels: string, value: number])[],
): string[] {
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...samples.map(([labels, value]) => `${name}${labels} ${value}`),
  ]
}

function histogram(name: string, help: string, { boundsMs, counts, sumMs }: Distribution) {
  const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} histogram`]
  let below = 0
  for (const [bucket, count] of counts.entries()) {
    below += count
    const bound = boundsMs[bucket]
    const le = bound === undefined ? '+Inf' : String(bound / 1_000)
    lines.push(`${name}_bucket{le="${le}"} ${below}`)
  }
  lines.push(`${name}_sum ${sumMs / 1_000}`, `${name}_count ${below}`)
  return lines
}
