// Opens a compact JWE from stdin with npm `jose`: open_jose.mjs PRIVATE_JWK_SET < message > plaintext
import { readFileSync } from 'node:fs'
import { compactDecrypt, importJWK } from 'jose'

const { keys } = JSON.parse(readFileSync(process.argv[2]))
const keyFor = ({ kid }) => importJWK(keys.find((key) => key.kid === kid), 'RSA-OAEP-256')
const { plaintext } = await compactDecrypt(readFileSync(0, 'utf8').trim(), keyFor)
process.stdout.write(plaintext)
