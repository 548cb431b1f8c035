"""Tests of another team: its client seals with jwcrypto, and knows nothing of the gateway."""

import json
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from jwcrypto import jwe, jwk

import pytest_jwe_gateway

http = build_opener(ProxyHandler({}))


def call(url, body=None, headers=None):
    with http.open(Request(url, data=body, headers=headers or {})) as response:
        return json.load(response)


class Client:
    """A client of Flanks that caches its token, and the key set until the provider refuses a message."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.renew_token()
        self.fetch_key()

    def renew_token(self):
        body = {"client_id": self.sandbox.client_id, "client_secret": self.sandbox.client_secret}
        body["grant_type"] = "client_credentials"
        headers = {"content-type": "application/json"}
        self.token = call(self.sandbox.token_url, json.dumps(body).encode(), headers)["access_token"]

    def fetch_key(self):
        self.key = jwk.JWK(**call(self.sandbox.jwks_url)["keys"][0])

    def seal(self, body):
        header = {"alg": "RSA-OAEP-256", "enc": "A256CBC-HS512", "typ": "JWE", "kid": self.key["kid"]}
        message = jwe.JWE(json.dumps(body).encode(), json.dumps(header))
        message.add_recipient(self.key)
        return message.serialize(compact=True).encode()

    def status(self, credentials_token):
        headers = {"content-type": "application/jose", "authorization": f"Bearer {self.token}"}
        body = self.seal({"credentials_token": credentials_token})
        return call(f"{self.sandbox.provider}/v0/bank/credentials/status", body, headers)


@pytest.fixture
def client(jwe_sandbox):
    return Client(jwe_sandbox)


def test_a_sealed_body_is_opened_and_recorded(jwe_sandbox, client):
    client.status("sandbox-credentials-1")
    [received] = jwe_sandbox.received(wait=2)
    assert received["target"] == "/v0/bank/credentials/status"
    assert received["kid"] == client.key["kid"]
    assert received["unopened"] is None
    assert received["body"] == {"credentials_token": "sandbox-credentials-1"}
    assert jwe_sandbox.verdict()["verdict"] == "passed"


def test_a_body_in_clear_is_refused_and_spoils_the_verdict(jwe_sandbox, client):
    headers = {"content-type": "application/json", "authorization": f"Bearer {client.token}"}
    with pytest.raises(HTTPError) as refused:
        call(f"{jwe_sandbox.provider}/v0/bank/credentials/status", b'{"credentials_token":"x"}', headers)
    assert refused.value.code == 415
    verdict = jwe_sandbox.verdict()
    assert verdict["verdict"] == "failed"
    assert "sealed" in [check["name"] for check in verdict["checks"] if not check["passed"]]


def test_each_test_begins_with_a_reset_sandbox(jwe_sandbox):
    assert jwe_sandbox.received() == []
    assert jwe_sandbox.seed == 7, "pytest.ini says so"


def test_only_later_calls_are_listed(jwe_sandbox, client):
    for _ in range(3):
        client.status("sandbox-credentials-1")
    first, *later = jwe_sandbox.received()
    assert jwe_sandbox.received(after=first["number"]) == later


def test_a_client_that_fetches_the_key_set_survives_a_hard_rotation(jwe_sandbox, client):
    kid = jwe_sandbox.rotate(hard=True)
    with pytest.raises(HTTPError):
        client.status("sandbox-credentials-1")
    client.fetch_key()
    assert client.key["kid"] == kid
    client.status("sandbox-credentials-1")
    assert jwe_sandbox.verdict()["verdict"] == "passed"


def test_a_rotation_with_an_overlap_refuses_nothing(jwe_sandbox, client):
    jwe_sandbox.rotate(hard=False)
    client.status("sandbox-credentials-1")


def test_a_revoked_token_is_refused(jwe_sandbox, client):
    jwe_sandbox.revoke_tokens()
    with pytest.raises(HTTPError) as refused:
        client.status("sandbox-credentials-1")
    assert refused.value.code == 401


def test_a_fault_applies_until_it_has_applied_so_often_or_is_disarmed(jwe_sandbox, client):
    jwe_sandbox.arm({"token": "server_error"}, times=1)
    with pytest.raises(HTTPError):
        client.renew_token()
    client.renew_token()
    jwe_sandbox.arm({"token": "server_error"})
    jwe_sandbox.disarm()
    client.renew_token()


def test_the_world_can_be_replaced_and_is_restored_by_a_reset(jwe_sandbox):
    before = jwe_sandbox.world()
    jwe_sandbox.set_world({**before, "credentials": []})
    assert jwe_sandbox.world() != before
    jwe_sandbox.reset()
    assert jwe_sandbox.world() == before


def test_a_gateway_in_front_seals_plain_json(jwe_sandbox, jwe_gateway):
    body = b'{"credentials_token":"sandbox-credentials-1"}'
    call(f"{jwe_gateway}/v0/bank/credentials/status", body, {"content-type": "application/json"})
    [received] = jwe_sandbox.received()
    assert received["protected_header"]


def test_an_error_of_the_management_interface_has_its_text(jwe_sandbox):
    with pytest.raises(RuntimeError, match="kid is missing"):
        jwe_sandbox.manage("POST", "/retire")


def test_a_sandbox_that_does_not_start_says_so():
    with pytest.raises(RuntimeError, match="was not ready"):
        with pytest_jwe_gateway.start_sandbox("--no-such-option"):
            pass


def test_a_program_that_is_nowhere_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("JWE_GATEWAY_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="JWE_GATEWAY_BIN"):
        pytest_jwe_gateway.find_binary()
    monkeypatch.setenv("JWE_GATEWAY_BIN", "/elsewhere")
    assert pytest_jwe_gateway.find_binary() == "/elsewhere"
