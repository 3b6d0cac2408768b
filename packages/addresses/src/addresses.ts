import { lookup as dnsLookup, type LookupAddress } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'

/**
 * Which addresses may be called on the word of somebody else, who must not be able to make us call what only we can reach: this
 * machine, its network, the metadata of its cloud. What counts is the address that is really connected to, so that a name
 * which leads elsewhere each time it is asked for gains nothing.
 */
export type Leash = {
  /** Why this host of a URL may not be called. A name is judged by where it leads, when that is looked up. */
  refusal(hostname: string): string | undefined
  /** As `dns.lookup`, without the addresses that may not be called; an error where none is left. */
  lookup: LookupFunction
}

/** What is inside and may be called all the same: addresses, ranges of them, names. */
export type Allowed = { ranges: BlockList; hosts: ReadonlySet<string> }

/** What is no place in the internet (IANA's registries of special-purpose addresses). */
const INSIDE_4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
]
/** Everything else of IPv6 is inside, what stands for an address of IPv4 included. */
const OUTSIDE_6 = ['2000::/3']
/** Of that, tunnels to any address of IPv4, and what is for protocols and documentation only. */
const INSIDE_6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20']
/** Where clouds keep what only the machine itself is to know. */
const LINK_LOCAL = ['169.254.0.0/16', 'fe80::/10', 'fd00:ec2::254/128']

const inside = listOf([...INSIDE_4, ...INSIDE_6])
const outside6 = listOf(OUTSIDE_6)
const linkLocal = listOf(LINK_LOCAL)

/** Nothing but the internet, and what is allowed. */
export function outsideLeash(allowed: Allowed, resolve: typeof dnsLookup = dnsLookup): Leash {
  const isOutside = (address: string) =>
    !has(inside, address) && (isIP(address) === 4 || has(outside6, address))
  return leash(
    {
      mayCall: (address) => isOutside(address) || has(allowed.ranges, address),
      isAllowed: (host) => allowed.hosts.has(host),
      why: 'is inside this network, or no address that can be called; an operator can allow it (WEBHOOK_ALLOW)',
    },
    resolve,
  )
}

/** Everything but what belongs to the link itself, where clouds keep their metadata. */
export function linkLocalLeash(resolve: typeof dnsLookup = dnsLookup): Leash {
  return leash(
    {
      mayCall: (address) => !has(linkLocal, address),
      isAllowed: () => false,
      why: 'is link-local, where clouds keep their metadata; an operator can give it the name of a service',
    },
    resolve,
  )
}

type Rule = { mayCall(address: string): boolean; isAllowed(host: string): boolean; why: string }

function leash({ mayCall, isAllowed, why }: Rule, resolve: typeof dnsLookup): Leash {
  const refused = (host: string) =>
    Object.assign(new Error(`"${host}" ${why}`), { code: 'ADDRESS_REFUSED', address: host })
  return {
    refusal(hostname) {
      const host = plain(hostname)
      if (isAllowed(host)) return undefined
      const address = isIP(host) !== 0 ? host : isLoopbackName(host) ? '127.0.0.1' : undefined
      return address === undefined || mayCall(address) ? undefined : `"${host}" ${why}`
    },

    lookup(hostname, options, callback) {
      // All of them, whatever is asked for: the first may be one that may not be called, and the second not.
      resolve(hostname, { ...options, all: true }, (error, found: LookupAddress[]) => {
        if (error !== null) return callback(error, '')
        const host = plain(hostname)
        const fit = isAllowed(host) ? found : found.filter(({ address }) => mayCall(address))
        const [first] = fit
        if (first === undefined) callback(refused(host), '')
        else if (options.all === true) callback(null, fit)
        else callback(null, first.address, first.family)
      })
    },
  }
}

/** `10.0.0.0/8, ::1, hooks.internal`: or what is wrong with it. */
export function readAllowed(
  texts: readonly string[],
): { ok: true; allowed: Allowed } | { ok: false; problems: string[] } {
  const ranges = new BlockList()
  const hosts = new Set<string>()
  const problems: string[] = []
  for (const text of texts) {
    const host = plain(text)
    if (isRange(host)) addRange(ranges, host)
    else if (isName(host)) hosts.add(host)
    else problems.push(`"${text}" is no address, no range such as 10.0.0.0/8, and no name of a host`)
  }
  return problems.length === 0 ? { ok: true, allowed: { ranges, hosts } } : { ok: false, problems }
}

/** A host as it stands in a URL, in a list or before a lookup: without brackets, zone and the dot at its end. */
function plain(hostname: string): string {
  return hostname
    .toLowerCase()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/%.*$/, '')
    .replace(/\.$/, '')
}

/** RFC 6761: these never lead anywhere else. */
function isLoopbackName(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost')
}

/** What ends like a number is an address or a mistake, never a name. */
function isName(text: string): boolean {
  return /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(text) && !/(^|\.)(\d+|0x[0-9a-f]*)$/.test(text)
}

function isRange(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}

function addRange(list: BlockList, range: string): void {
  const [address = '', bits] = range.split('/')
  const isFour = isIP(address) === 4
  list.addSubnet(address, Number(bits ?? (isFour ? 32 : 128)), isFour ? 'ipv4' : 'ipv6')
}

function listOf(ranges: readonly string[]): BlockList {
  const list = new BlockList()
  for (const range of ranges) addRange(list, range)
  return list
}

/** An address of IPv4 that is written as one of IPv6 (`::ffff:10.0.0.1`) is found by either. */
function has(list: BlockList, address: string): boolean {
  const bare = plain(address)
  return list.check(bare, isIP(bare) === 4 ? 'ipv4' : 'ipv6')
}
