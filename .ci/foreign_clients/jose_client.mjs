// Takes plain JSON, seals it with npm `jose`, sends it to the provider. After a refusal it fetches the keys, or a token,
// and sends the request again, once.
import { createServer } from 'node:http'
import { CompactEncrypt, importJWK } from 'jose'

const { PROVIDER_URL, CLIENT_ID, CLIENT_SECRET, PORT } = process.env

async function fetchKey() {
  const { keys } = await (await fetch(PROVIDER_URL + '/.well-known/jwks.json')).json()
  return { kid: keys[0].kid, key: await importJWK(keys[0], 'RSA-OAEP-256') }
}

async function fetchToken() {
  const body = { client_id: CLIENT_ID, client_secret: CLIENT_SECRET, grant_type: 'client_credentials' }
  const headers = { 'Content-Type': 'application/json' }
  const reply = await fetch(PROVIDER_URL + '/v0/token', { method: 'POST', headers, body: JSON.stringify(body) })
  return (await reply.json()).access_token
}

let current = await fetchKey()
let token = await fetchToken()

async function send(path, body) {
  const header = { alg: 'RSA-OAEP-256', enc: 'A256CBC-HS512', kid: current.kid }
  const message = await new CompactEncrypt(body).setProtectedHeader(header).encrypt(current.key)
  const headers = { 'Content-Type': 'application/jose', Authorization: `Bearer ${token}` }
  return fetch(PROVIDER_URL + path, { method: 'POST', headers, body: message })
}

async function sendTwice(path, body) {
  const reply = await send(path, body)
  if (reply.status === 400) current = await fetchKey()
  else if (reply.status === 401) token = await fetchToken()
  else return reply
  await reply.arrayBuffer()
  return send(path, body)
}

createServer(async (request, response) => {
  const reply = await sendTwice(request.url, Buffer.concat(await request.toArray()))
  response.writeHead(reply.status).end(Buffer.from(await reply.arrayBuffer()))
}).listen(Number(PORT), '127.0.0.1')
