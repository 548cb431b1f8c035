#!/usr/bin/env python3
"""Opens a compact JWE from stdin with jwcrypto: open_jwcrypto.py PRIVATE_JWK_SET < message > plaintext"""

import sys

from jwcrypto import jwe, jwk

with open(sys.argv[1]) as file:
    keys = jwk.JWKSet.from_json(file.read())
message = jwe.JWE()
message.deserialize(sys.stdin.read().strip())
message.decrypt(keys.get_key(message.jose_header["kid"]))
sys.stdout.buffer.write(message.payload)
