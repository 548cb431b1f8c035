#!/usr/bin/env python3
"""Seals every body with jwcrypto into jwcrypto/; makes private.jwk.json first if it is not there.

    pip install jwcrypto && python3 tests/vectors/make_jwcrypto.py
"""

import json
from importlib.metadata import version
from pathlib import Path

from jwcrypto import jwe, jwk

HERE = Path(__file__).parent
KEY = HERE / "private.jwk.json"
HEADER = {"alg": "RSA-OAEP-256", "enc": "A256CBC-HS512", "typ": "JWE", "kid": "vectors"}
MIB = b'"' + (b"0123456789abcdef" * (1 << 16))[: (1 << 20) - 2] + b'"'

if not KEY.exists():
    key = jwk.JWK.generate(kty="RSA", size=2048, kid="vectors", use="enc", alg="RSA-OAEP-256")
    KEY.write_text(json.dumps(json.loads(key.export()), indent=2) + "\n")
key = jwk.JWK.from_json(KEY.read_text())

bodies = {path.stem: path.read_bytes() for path in sorted((HERE / "bodies").glob("*.json"))}
for name, body in (bodies | {"1MiB": MIB}).items():
    message = jwe.JWE(body, protected=json.dumps(HEADER), recipient=key)
    (HERE / "jwcrypto" / f"{name}.jwe").write_text(message.serialize(compact=True))
print("jwcrypto", version("jwcrypto"))
