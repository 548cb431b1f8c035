"""A client as a team has it that calls the provider by itself: its documented flow, and no word of JWE.

    client.py BASE_URL CLIENT_ID SECRET_FILE

Prints an answer a line: method, path, status, and the body with its members sorted.
"""

import json
import sys
from pathlib import Path

import requests

TIMEOUT = 60


class Provider:
    def __init__(self, base_url, client_id, client_secret):
        self.base_url = base_url
        self.client_id = client_id
        self.client_secret = client_secret
        self.session = requests.Session()
        # What a process that ran yesterday would still have.
        self.session.headers["Authorization"] = "Bearer of-yesterday"

    def login(self):
        # The session sends the old token along, as it does with everything.
        answer = self.session.post(
            self.base_url + "/v0/token",
            json={
                "client_id": self.client_id,
                "client_secret": self.client_secret,
                "grant_type": "client_credentials",
            },
            timeout=TIMEOUT,
        )
        answer.raise_for_status()
        granted = answer.json()
        if granted["token_type"].lower() != "bearer" or granted["expires_in"] < 60:
            raise SystemExit(f"a strange token: {granted['token_type']}, {granted['expires_in']} s")
        self.session.headers["Authorization"] = "Bearer " + granted["access_token"]

    def call(self, method, path, body=None):
        answer = self.session.request(method, self.base_url + path, json=body, timeout=TIMEOUT)
        if answer.status_code == 401:
            self.login()
            answer = self.session.request(method, self.base_url + path, json=body, timeout=TIMEOUT)
        answer.raise_for_status()
        return answer


def main():
    base_url, client_id, secret_file = sys.argv[1:]
    provider = Provider(base_url, client_id, Path(secret_file).read_text().strip())
    for method, path, body in [
        ("GET", "/v0/bank/available", None),
        ("POST", "/v0/bank/credentials/status", {"credentials_token": "sandbox-credentials-1"}),
        ("POST", "/v0/bank/credentials/list", {"page": 1}),
        ("DELETE", "/v0/bank/credentials", {"credentials_token": "sandbox-credentials-2"}),
    ]:
        answer = provider.call(method, path, body)
        print(method, path, answer.status_code, json.dumps(answer.json(), sort_keys=True))


if __name__ == "__main__":
    main()
