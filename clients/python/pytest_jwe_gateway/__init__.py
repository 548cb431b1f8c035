"""A local Flanks for tests. The fixture `jwe_sandbox` resets it before each test; `jwe_gateway` is a gateway in front of it.

The sandbox is a process of its own, so that it serves clients in any process. One process serves the whole session:
starting it generates an RSA key, a reset takes a millisecond. Rejected: a reset after each test, because a person who
looks at a failed test wants to see what it left.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

# The addresses are on this machine, so no proxy from the environment may be used.
_http = build_opener(ProxyHandler({}))


class Sandbox(SimpleNamespace):
    """A running sandbox: the members of the line that `jwe-gateway sandbox --json` prints, such as `provider`."""

    def manage(self, method, path, body=None):
        """Calls the management interface and returns its JSON. `docs/sandbox-reference.md` lists the operations."""
        data = None if body is None else json.dumps(body).encode()
        try:
            with _http.open(Request(self.management + path, data=data, method=method)) as response:
                return json.load(response)
        except HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None

    def received(self, after=0, wait=0.0):
        """Returns the recorded calls with a number above `after`. If there is none, waits up to `wait` seconds for one."""
        page = self.manage("GET", f"/received?after={after}&wait={round(wait * 1000)}ms")
        return page["requests"] + (self.received(page["next_after"]) if page["more"] else [])

    def verdict(self):
        """Returns whether the client seals as the provider needs it: `verdict` is `passed`, `failed` or `no requests`."""
        return self.manage("GET", "/verdict")

    def rotate(self, hard=True):
        """Publishes a new key and returns its kid. With `hard`, the older keys are removed at once."""
        return self.manage("POST", f"/rotate?overlap={'false' if hard else 'true'}")["kid"]

    def revoke_tokens(self):
        """Makes all tokens invalid that were issued so far."""
        self.manage("POST", "/revoke-tokens")

    def arm(self, fault, times=None):
        """Arms a fault such as `{"token": "server_error"}` for the next `times` requests, or until it is disarmed."""
        self.manage("POST", "/faults", {"fault": fault} if times is None else {"fault": fault, "times": times})

    def disarm(self):
        self.manage("DELETE", "/faults")

    def reset(self):
        """Restores the data, disarms all faults and forgets the recorded calls. The keys stay."""
        self.manage("POST", "/reset")

    def world(self):
        """Returns all data of the sandbox. Change it and give it to `set_world`."""
        return self.manage("GET", "/world")

    def set_world(self, world):
        """Replaces all data of the sandbox."""
        self.manage("PUT", "/world", world)


def find_binary():
    """Returns `JWE_GATEWAY_BIN` if it is set, otherwise the binary of this wheel (pip knows three places), or of `PATH`."""
    if path := os.environ.get("JWE_GATEWAY_BIN"):
        return path
    user = sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))
    for directory in [sysconfig.get_path("scripts"), user, Path(__file__).parent.parent / "bin"]:
        if (path := Path(directory) / "jwe-gateway").is_file():
            return str(path)
    if path := shutil.which("jwe-gateway"):
        return path
    raise FileNotFoundError("jwe-gateway is neither in this wheel nor in PATH: set JWE_GATEWAY_BIN to its path")


@contextmanager
def start_sandbox(*args):
    """Runs `jwe-gateway sandbox` with `args`, such as `"--seed", "7"`, on free ports of 127.0.0.1."""
    args = ["sandbox", "--json", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0", *args]
    with _running(args, {}, lambda line: "management" in line) as line:
        yield Sandbox(**line)


@contextmanager
def start_gateway(sandbox, *args):
    """Runs a gateway in front of `sandbox` and returns its base URL. It takes plain JSON and needs no credential."""
    args = ["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json", *args]
    args += ["--upstream", sandbox.provider, "--client-id", sandbox.client_id, "--drain-delay", "0s"]
    secret = {"JWE_GATEWAY_CLIENT_SECRET": sandbox.client_secret}
    with _running(args, secret, lambda line: line.get("message") == "listening") as line:
        yield f"http://{line['gateway']}"


@contextmanager
def _running(args, environment, is_ready):
    """Runs the binary and gives back the first line of JSON that `is_ready` accepts. The rest goes to stderr."""
    process = subprocess.Popen([find_binary(), *args], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    deadline = threading.Timer(30, process.kill)
    deadline.start()
    try:
        ready = next(filter(is_ready, map(json.loads, process.stdout)), None)
        if ready is None:
            raise RuntimeError(f"jwe-gateway {args[0]} ended with {process.wait()} and was not ready; see its stderr")
        deadline.cancel()
        # The pipe is read to its end, so that the process never waits for a reader. pytest shows it for failed tests.
        threading.Thread(target=lambda: [sys.stderr.write(line) for line in process.stdout], daemon=True).start()
        yield ready
    finally:
        deadline.cancel()
        process.terminate()
        process.wait(10)


def pytest_addoption(parser):
    parser.addini("jwe_sandbox_args", "further arguments of `jwe-gateway sandbox`, such as --seed 7", type="args")


@pytest.fixture(scope="session")
def jwe_sandbox_process(request):
    """The sandbox of the session, as the last test left it."""
    with start_sandbox(*request.config.getini("jwe_sandbox_args")) as sandbox:
        yield sandbox


@pytest.fixture
def jwe_sandbox(jwe_sandbox_process):
    """The sandbox of the session, reset before each test."""
    jwe_sandbox_process.reset()
    return jwe_sandbox_process


@pytest.fixture(scope="session")
def jwe_gateway(jwe_sandbox_process):
    """The base URL of a gateway in front of the sandbox of the session."""
    with start_gateway(jwe_sandbox_process) as url:
        yield url
