"""The processes of the tests in this directory: the sandbox, the gateways, and HAProxy in front of them."""

import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

WORK = pathlib.Path(__file__).resolve().parents[2] / "target" / "soak"

ASK_TIMEOUT = 60

Sample = collections.namedtuple("Sample", "age kib descriptors")


def run_test(test, options):
    """The exit code of `test(options, started)`. All processes that it adds to `started` are ended."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    started = []
    try:
        return test(options, started)
    except (RuntimeError, OSError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
        print(f"no verdict: {error}", file=sys.stderr)
        return 2
    finally:
        for process in started:
            process.end()


def add_binary(parser):
    """Adds the argument that names the binary, and checks what every test needs."""
    parser.add_argument("gateway", type=executable, help="the jwe-gateway binary")
    if not shutil.which("haproxy"):
        parser.error("haproxy is not installed (Debian: apt-get install haproxy)")


def executable(path):
    if not os.access(path, os.X_OK):
        raise argparse.ArgumentTypeError(f"no executable file: {path}")
    return pathlib.Path(path).resolve()


class Process:
    """A process whose output goes to a file in the working directory."""

    def __init__(self, name, started):
        self.name = name
        self.log = WORK / f"{name}.log"
        self.process = None
        started.append(self)

    def spawn(self, *command, **environment):
        # Variables of the machine that a gateway reads, such as FLANKS_CLIENT_ID, are no part of the test.
        inherited = {name: os.environ[name] for name in ["PATH", "RUST_LOG"] if name in os.environ}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=WORK, stdout=log, stderr=log, env=inherited | environment)
        self._spawned = time.monotonic()

    def wait_until(self, is_true, what):
        deadline = time.monotonic() + 30
        while not is_true():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"{self.name}: not {what}; see {self.log}")
            time.sleep(0.05)

    def sample(self):
        folder = pathlib.Path(f"/proc/{self.process.pid}")
        resident = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmRSS:"))
        age = time.monotonic() - self._spawned
        return Sample(age, int(resident.split()[1]), len(os.listdir(folder / "fd")))

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Sandbox(Process):
    def __init__(self, binary, started):
        super().__init__("sandbox", started)
        self.cuts = 0
        addresses = ["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"]
        # A list of 20,000 records takes 110 MiB for a moment. By default, glibc keeps this memory for each of up to 16
        # arenas (on 2 cores): the sandbox grew to 2.2 GiB in 1,000 cuts. With one arena it stays at 0.5 GiB.
        self.spawn(binary, "sandbox", *addresses, "--secrets", "secrets", MALLOC_ARENA_MAX="1")
        self.wait_until(lambda: "\n  secrets " in self.log.read_text(), "started")
        printed = dict(line.split()[:2] for line in self.log.read_text().splitlines() if line.startswith("  "))
        self.provider = printed["provider"]
        self.management = int(printed["management"].rsplit(":", 1)[1])

    def manage(self, method, target):
        return ask(self.management, method, target)


class Gateway(Process):
    """A gateway with `settings` (options of `run`). It keeps its addresses when it is restarted."""

    def __init__(self, binary, name, started, *settings):
        super().__init__(name, started)
        self.port, self.admin = free_port(), free_port()
        addresses = ["--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin}"]
        self._command = [binary, "run", "--log-format", "json", *addresses, *settings]

    def start(self):
        self.spawn(*self._command)
        self.wait_until(self._is_ready, "ready")

    def restart(self):
        self.process.terminate()
        code = self.process.wait(timeout=60)
        if code != 0:
            raise RuntimeError(f"{self.name}: exit code {code} after SIGTERM; see {self.log}")
        self.start()

    def reload(self):
        """Sends SIGHUP, and returns when the gateway has logged the result."""
        lines = lambda: self.log.read_text().count('"target":"jwe_gateway::app')
        before = lines()
        self.process.send_signal(signal.SIGHUP)
        self.wait_until(lambda: lines() > before, "reloaded")

    def _is_ready(self):
        try:
            return ask(self.admin, "GET", "/readyz")["ready"]
        except OSError:
            return False


class Haproxy(Process):
    """HAProxy as an operator would set it up, but without retries, so that it conceals nothing.

    A gateway that stops serves for another 5 s (`drain_delay`). Two failed checks take HAProxy about 2 s.
    """

    def __init__(self, gateways, started, are_checked=True):
        super().__init__("haproxy", started)
        self.port = free_port()
        server = "    server {0.name} 127.0.0.1:{0.port}" + (" check port {0.admin}" if are_checked else "")
        servers = "\n".join(server.format(gateway) for gateway in gateways)
        (WORK / "haproxy.cfg").write_text(f"""
global
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    option dontlog-normal
    retries 0
    timeout connect 5s
    timeout client 60s
    timeout server 150s
    timeout check 2s
listen gateways
    bind 127.0.0.1:{self.port}
    balance roundrobin
    option httpchk
    http-check send meth GET uri /readyz
    default-server inter 1s fall 2 rise 1
{servers}
""")
        self.spawn("haproxy", "-db", "-f", "haproxy.cfg")
        self.wait_until(self._is_listening, "listening")

    def _is_listening(self):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


def ask(port, method, target):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_TIMEOUT)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status not in (200, 503):
        raise RuntimeError(f"{method} {target}: {response.status} {body[:300]}")
    return json.loads(body)


def free_port():
    """A port that no outgoing connection takes while its gateway restarts: below the range for such connections."""
    first_outgoing = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(first_outgoing // 2, first_outgoing)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
