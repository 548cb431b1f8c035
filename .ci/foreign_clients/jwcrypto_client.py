"""Takes plain JSON, seals it with jwcrypto, sends it to the provider. As the provider's example, it fetches the keys once."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from jwcrypto import jwe, jwk

PROVIDER = os.environ["PROVIDER_URL"]
CLIENT = {"client_id": os.environ["CLIENT_ID"], "client_secret": os.environ["CLIENT_SECRET"]}

granted = requests.post(PROVIDER + "/v0/token", json={**CLIENT, "grant_type": "client_credentials"}).json()
keys = jwk.JWKSet.from_json(requests.get(PROVIDER + "/.well-known/jwks.json").text)
key = list(keys)[0]


class Shim(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        header = {"alg": "RSA-OAEP-256", "enc": "A256CBC-HS512", "typ": "JWE", "kid": key.kid}
        message = jwe.JWE(body, recipient=key, protected=header).serialize(compact=True)
        headers = {"Content-Type": "application/jose", "Authorization": "Bearer " + granted["access_token"]}
        reply = requests.post(PROVIDER + self.path, data=message, headers=headers)
        self.send_response(reply.status_code)
        self.send_header("Content-Length", str(len(reply.content)))
        self.end_headers()
        self.wfile.write(reply.content)


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Shim).serve_forever()
