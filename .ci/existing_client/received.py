"""What the provider received of client.py's calls through the gateway: every body sealed, and nothing of the
caller's own credentials. Reads the sandbox's list on stdin.

    received.py CALLERS_KEY_FILE
"""

import base64
import json
import sys
from pathlib import Path

listed = json.load(sys.stdin)
calls = [call for call in listed["requests"] if not call["target"].startswith("/.well-known/")]
expected = [
    ("GET", "/v0/bank/available", ""),
    ("POST", "/v0/bank/credentials/status", '{"credentials_token": "sandbox-credentials-1"}'),
    ("POST", "/v0/bank/credentials/list", '{"page": 1}'),
    ("DELETE", "/v0/bank/credentials", '{"credentials_token": "sandbox-credentials-2"}'),
]
read = [(call["method"], call["target"], base64.b64decode(call["plaintext_base64"]).decode()) for call in calls]
assert read == expected, read
for call in calls:
    sealed = call["protected_header"] is not None
    assert sealed == bool(call["plaintext_bytes"]), f"{call['method']} {call['target']} came in clear"
    assert call["authorization"], f"{call['method']} {call['target']} came without the provider's own token"
key = Path(sys.argv[1]).read_text().strip()
heard = json.dumps(listed)
assert key not in heard and "jgw_" not in heard and "of-yesterday" not in heard, "the caller's credentials travelled"
print("the same client, with another base URL, id and secret: 4 answers alike, 3 bodies sealed")
