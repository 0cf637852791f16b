import type { Command } from '../command.ts'
import { exitCodes } from '../failure.ts'
import { addressText, endpointsText } from '../output/address.ts'
import { explainMissingService } from './service-names.ts'

export const discoverCommand: Command = {
  name: 'discover',
  summary: 'find a service: the pick of the balancer and all that can serve',
  description: ['Exits with 1 when the service is known and nothing of it can serve now.'],
  house: true,
  positionals: [{ name: 'NAME', summary: 'a service, or an alias of one', complete: 'service' }],
  options: [
    { name: 'tag', value: 'TAG', summary: 'only instances with this tag' },
    { name: 'zone', value: 'ZONE', summary: 'only instances in this zone' },
    { name: 'version', value: 'VERSION', summary: 'only instances of this version' },
    { name: 'pick', summary: 'print the picked address and nothing else' },
  ],
  examples: [
    ['haus discover orders', 'show it'],
    ['curl "$(haus discover orders --pick)/orders"', 'call it'],
  ],
  run: async (context, args) => {
    const { screen } = context
    const { client } = context.house()
    const name = args.positional(0)
    const [tag, zone, version] = [args.text('tag'), args.text('zone'), args.text('version')]
    const query = {
      service: name,
      ...(tag !== undefined && { tag }),
      ...(zone !== undefined && { zone }),
      ...(version !== undefined && { version }),
    }
    const { body } = await client
      .call('discover', { query })
      .catch(async (error: unknown) => explainMissingService(client, name, error))
    const { address, port, url } = body
    const pick = url ?? (address !== null && port !== null ? addressText(address, port) : null)
    const code = pick === null ? exitCodes.no : exitCodes.ok
    if (args.flag('json')) {
      screen.json(body)
      return code
    }
    if (pick === null) {
      screen.note(
        `No instance of ${body.service} can serve now. \`haus services ${body.service}\` shows why.`,
      )
    }
    if (args.flag('pick')) {
      if (pick !== null) screen.print(`${pick}\n`)
      return code
    }
    const { text, tone } = screen.state(body.health)
    screen.print(`${screen.toned(body.service, 'strong')} is ${screen.toned(text, tone)}\n`)
    screen.fields([
      ['Pick', pick],
      ['Endpoints', endpointsText(body.endpoints)],
    ])
    if (body.instances.length > 0) {
      screen.print('\n')
      screen.table(
        [
          { title: 'ADDRESS' },
          { title: 'STATE' },
          { title: 'WEIGHT', align: 'right' },
          { title: 'VERSION' },
          { title: 'ZONE' },
          { title: 'TAGS', flexible: true },
        ],
        body.instances.map((instance) => [
          instance.url ?? addressText(instance.address, instance.port),
          screen.state(instance.health),
          String(instance.weight),
          instance.version,
          instance.zone ?? '',
          instance.tags.join(', '),
        ]),
      )
    }
    return code
  },
}
