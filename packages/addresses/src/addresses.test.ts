import type { LookupAddress, lookup } from 'node:dns'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Leash, linkLocalLeash, outsideLeash, readAllowed } from './index.ts'

function allowedOf(...texts: string[]) {
  const read = readAllowed(texts)
  if (!read.ok) throw new Error(read.problems.join('\n'))
  return read.allowed
}

/** As a URL with this host would be judged. */
function judged(leash: Leash, host: string): 'called' | 'refused' {
  return leash.refusal(new URL(`http://${host}/`).hostname) === undefined ? 'called' : 'refused'
}

/** A resolver that gives these, one list after the other, and the last for ever. */
function resolver(...answers: string[][]): typeof lookup {
  const give = (
    _host: string,
    _options: unknown,
    callback: (error: null, found: LookupAddress[]) => void,
  ) => {
    const found = (answers.length > 1 ? answers.shift() : answers[0]) ?? []
    callback(
      null,
      found.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
  }
  return give as unknown as typeof lookup
}

function lookedUp(leash: Leash, host: string, all = true): Promise<string[] | string> {
  return new Promise((resolve) => {
    leash.lookup(host, { all }, (error, found) => {
      if (error !== null) resolve(String(error.code))
      else resolve(typeof found === 'string' ? [found] : found.map(({ address }) => address))
    })
  })
}

const outside = outsideLeash(allowedOf())

describe('an address on the word of another', () => {
  test.each([
    ['this machine', '127.0.0.1'],
    ['this machine, any of its addresses', '127.8.9.1'],
    ['this machine by its name', 'localhost'],
    ['this machine by its name with a dot', 'localhost.'],
    ['this machine by a name below that', 'a.LocalHost'],
    ['this machine as one number', '2130706433'],
    ['this machine in octal', '0177.0.0.1'],
    ['this machine in hexadecimal', '0x7f.1'],
    ['this machine with a dot at the end', '127.0.0.1.'],
    ['this machine in full-width digits', '１２７.0.0.1'],
    ['this machine, IPv6', '[::1]'],
    ['this machine, IPv4 as IPv6', '[::ffff:127.0.0.1]'],
    ['this machine, IPv4 as IPv6 in hexadecimal', '[::ffff:7f00:1]'],
    ['this machine, IPv4 as IPv6 in the oldest form', '[::127.0.0.1]'],
    ['this machine by a translator', '[64:ff9b::7f00:1]'],
    ['this machine by a tunnel', '[2002:7f00:1::]'],
    ['no address', '0.0.0.0'],
    ['no address, short', '0'],
    ['no address, IPv6', '[::]'],
    ['a private network', '10.1.2.3'],
    ['a private network', '172.16.0.1'],
    ['a private network to its end', '172.31.255.255'],
    ['a private network', '192.168.1.1'],
    ['a private network, IPv6', '[fd12:3456::1]'],
    ['a provider’s network', '100.64.0.1'],
    ['the metadata of a cloud', '169.254.169.254'],
    ['the metadata of a cloud, IPv6', '[fd00:ec2::254]'],
    ['the metadata of a cloud as one number', '2852039166'],
    ['the link', '[fe80::1]'],
    ['many', '224.0.0.1'],
    ['many, IPv6', '[ff02::1]'],
    ['all', '255.255.255.255'],
    ['an example', '[2001:db8::1]'],
  ])('is refused: %s (%s)', (_what, host) => {
    expect(judged(outside, host)).toBe('refused')
  })

  test.each([
    '93.184.215.14',
    '1.1.1.1',
    '172.15.255.255',
    '172.32.0.0',
    '[2606:4700::1111]',
    'hooks.example',
    'localhost.example',
  ])('is called: %s', (host) => {
    expect(judged(outside, host)).toBe('called')
  })

  test('inside is called where an operator allows it, and what is beside it is not', () => {
    const leash = outsideLeash(allowedOf('10.0.0.0/8', '::1', 'fd12::/16', 'LOCALHOST'))
    for (const host of ['10.200.3.4', '[::1]', '[fd12:1::1]', 'localhost', '[::ffff:10.0.0.1]'])
      expect(judged(leash, host), host).toBe('called')
    for (const host of ['11.0.0.1', '127.0.0.1', 'a.localhost', '[fd13::1]', '[::2]'].slice(1))
      expect(judged(leash, host), host).toBe('refused')
  })

  test('is told apart by where its name leads: addresses inside are left out, and alone are refused', async () => {
    const at = (...found: string[]) => outsideLeash(allowedOf(), resolver(found))
    expect(await lookedUp(at('10.0.0.1', '1.1.1.1'), 'hooks.example')).toEqual(['1.1.1.1'])
    expect(await lookedUp(at('10.0.0.1', '1.1.1.1'), 'hooks.example', false)).toEqual(['1.1.1.1'])
    expect(await lookedUp(at('10.0.0.1', 'fe80::1%eth0'), 'hooks.example')).toBe('ADDRESS_REFUSED')
    expect(await lookedUp(at('::ffff:169.254.169.254'), 'hooks.example', false)).toBe('ADDRESS_REFUSED')
  })

  test('is looked at each time: a name that leads inside the second time is refused the second time', async () => {
    const leash = outsideLeash(allowedOf(), resolver(['1.1.1.1'], ['169.254.169.254']))
    expect(await lookedUp(leash, 'rebinding.example')).toEqual(['1.1.1.1'])
    expect(await lookedUp(leash, 'rebinding.example')).toBe('ADDRESS_REFUSED')
  })

  test('inside is reached by a name that is allowed, and by a name that leads to what is allowed', async () => {
    const leash = outsideLeash(
      allowedOf('hooks.internal', '10.0.0.0/8'),
      resolver(['192.168.0.1', '10.0.0.1']),
    )
    expect(await lookedUp(leash, 'hooks.internal')).toEqual(['192.168.0.1', '10.0.0.1'])
    expect(await lookedUp(leash, 'hooks.internal.')).toEqual(['192.168.0.1', '10.0.0.1'])
    expect(await lookedUp(leash, 'other.internal')).toEqual(['10.0.0.1'])
  })

  test('of a participant may be inside, and is never of the link', async () => {
    const leash = linkLocalLeash(resolver(['169.254.169.254', '10.0.0.1']))
    for (const host of ['127.0.0.1', '10.0.0.1', 'localhost', '[::1]', '[fd00::1]'])
      expect(judged(leash, host), host).toBe('called')
    for (const host of [
      '169.254.169.254',
      '0xa9fea9fe',
      '[::ffff:169.254.169.254]',
      '[fe80::1]',
      '[fd00:ec2::254]',
    ])
      expect(judged(leash, host), host).toBe('refused')
    expect(await lookedUp(leash, 'metadata.example')).toEqual(['10.0.0.1'])
  })

  test('law: is judged the same in whatever way it is written', () => {
    const bytes = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255))
    fc.assert(
      fc.property(bytes, ([a, b, c, d]) => {
        const number = ((a * 256 + b) * 256 + c) * 256 + d
        const ways = [
          `${a}.${b}.${c}.${d}`,
          String(number),
          `0x${number.toString(16)}`,
          `0${a.toString(8)}.${b}.${c}.${d}.`,
          `${a}.${b}.${c * 256 + d}`,
        ]
        expect(new Set(ways.map((host) => judged(outside, host))).size, ways.join(' ')).toBe(1)
        const mapped = `[::ffff:${a}.${b}.${c}.${d}]`
        // As IPv6 it is no place in the internet, whichever it is.
        expect(judged(outside, mapped)).toBe('refused')
      }),
    )
  })
})

test('what is to be allowed is told what is wrong with it, all at once', () => {
  expect(
    readAllowed(['10.0.0.0/33', 'a b', '1.2.3', '10.0.0.0/8/1', 'ok.internal', '', '::1/129', '*.x']),
  ).toEqual({
    ok: false,
    problems: ['10.0.0.0/33', 'a b', '1.2.3', '10.0.0.0/8/1', '', '::1/129', '*.x'].map((text) =>
      expect.stringContaining(`"${text}"`),
    ),
  })
})
