// Seals every body with npm `jose` into jose/, under the key that make_jwcrypto.py made.
//
//     npm install --no-save jose && node tests/vectors/make_jose.mjs
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { CompactEncrypt, importJWK } from 'jose'

const file = (path) => new URL(path, import.meta.url)
const { kty, n, e } = JSON.parse(readFileSync(file('private.jwk.json')))
const key = await importJWK({ kty, n, e }, 'RSA-OAEP-256')

const mib = Buffer.from(`"${'0123456789abcdef'.repeat(1 << 16).slice(0, (1 << 20) - 2)}"`)
const bodies = readdirSync(file('bodies')).map((name) => [name.replace('.json', ''), readFileSync(file(`bodies/${name}`))])
for (const [name, body] of [...bodies, ['1MiB', mib]]) {
  const message = await new CompactEncrypt(body)
    .setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A256CBC-HS512', kid: 'vectors', cty: 'json' })
    .encrypt(key)
  writeFileSync(file(`jose/${name}.jwe`), message)
}
