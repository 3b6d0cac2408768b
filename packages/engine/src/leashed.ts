import type { Leash } from '@backstitch/addresses'
import { buildConnector } from 'undici'

/** Connects to what the leash lets be called, and to nothing else. */
export function leashedConnector(leash: Leash, timeoutMs: number): buildConnector.connector {
  const connect = buildConnector({ timeout: timeoutMs, allowH2: false, lookup: leash.lookup })
  return (options, callback) => {
    // An address is not looked up.
    const refusal = leash.refusal(options.hostname)
    if (refusal === undefined) connect(options, callback)
    else callback(Object.assign(new Error(refusal), { code: 'ADDRESS_REFUSED' }), null)
  }
}
