"""What the provider received of client.py's calls through the gateway: every body sealed, and nothing of the
caller's own credentials. Reads the sandbox's list on stdin.

    received.py CALLERS_KEY_FILE INDEX_FILE
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
    kinds = [value for name, value in call["headers"] if name == "content-type"]
    assert not sealed or kinds == ["application/jose"], kinds
    # The list leaves Authorization out. That there was one, and that it was the provider's own token, the status says.
    assert call["authorization"] and call["status"] == 200, f"{call['method']} {call['target']}: {call['status']}"
# Token requests are counted, not listed. The gateway's own is the only one: none of the client's went through.
asked = json.loads(Path(sys.argv[2]).read_text())["token_requests"]
assert asked == 1, f"the provider was asked for {asked} tokens"
key = Path(sys.argv[1]).read_text().strip()
heard = json.dumps(listed)
assert key not in heard and "jgw_" not in heard and "of-yesterday" not in heard, "the caller's credentials travelled"
print("the same client, with another base URL, id and secret: 4 answers alike, 3 bodies sealed")
