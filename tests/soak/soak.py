#!/usr/bin/env python3
"""No request is lost or processed twice while keys are cut, tokens are revoked and gateways restart.

    tests/soak/soak.py target/release/jwe-gateway                             # 1,000 cuts, 18 minutes
    tests/soak/soak.py target/release/jwe-gateway --cuts 14 --restart-every 7 # as .ci/run does, about 20 s

    load --> HAProxy --> gateways a, b, c --> sandbox

Gateways a and b are restarted in turn with SIGTERM. Gateway c is never restarted, so that its memory and its
descriptors show a leak. HAProxy repeats nothing (`retries 0`): what the gateways lose, the client loses.

A request is lost if the client does not get the provider's documented response, or if the sandbox has not
opened exactly its method, target and body. The sandbox records every request with the caller's X-Request-Id.
It keeps the latest 20,000, so this script reads its records while the load runs, and ends with 2 if it missed some.

Needs Python 3.9 without packages, and `haproxy` (Debian: apt-get install haproxy). All ports are free ones on loopback.
The logs stay in target/soak: about 90 MB after 1,000 cuts.

Exit code: 0 nothing was lost or processed twice, 1 something was, 2 no verdict.
"""

import argparse
import base64
import collections
import concurrent.futures
import http.client
import json
import multiprocessing
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid

from processes import WORK, Gateway, Haproxy, Sandbox, ask

RUN = uuid.uuid4().hex[:8]

CLIENT_CONNECTIONS = 32
CLIENT_TIMEOUT = 60
# A gateway replaces a refused token at most every 4 s in the long run.
SECONDS_BETWEEN_REVOCATIONS = 5
# The sandbox keeps 20,000 records. Requests that are sent twice take two.
RECORDS_PER_READING = 8_000

Request = collections.namedtuple("Request", "method target body status text")


def request_numbered(number):
    """The request with this number, and the response that the sandbox documents for it.

    The sandbox has two credentials that could be deleted once. So each DELETE names unknown ones, and its documented
    response is a 400: the status that the sandbox also has for a message that it cannot open.
    """
    credentials = {"credentials_token": "sandbox-credentials-1", "soak": number}
    method, target, body, status, text = {
        0: ("PUT", "/v0/bank/credentials/status", credentials | {"force": "sca"}, 200, "sca_token"),
        1: ("PUT", "/v0/bank/credentials/status", credentials | {"force": "reset"}, 200, "reset_token"),
        2: ("GET", f"/v0/bank/available?soak={number}", None, 200, "sandbox-bank-1"),
        3: ("GET", f"/v0/platform/link?soak={number}", None, 200, "sandbox-link-1"),
        4: ("DELETE", "/v0/bank/credentials", credentials | {"credentials_token": "gone"}, 400, "not allowed"),
        5: ("POST", "/letters/v1/create-signed", letter(number), 200, "letter_id"),
        6: ("POST", "/v0/bank/credentials/account", credentials, 200, "["),
    }.get(number % 10, ("POST", "/v0/bank/credentials/status", credentials, 200, "sandbox-bank-1"))
    return Request(method, target, b"" if body is None else json.dumps(body).encode(), status, text.encode())


def letter(number):
    document = base64.b64encode(b"%PDF-1.7 " + b"x" * 3000).decode()
    return {"connector_id": "soak", "data": document, "labels": {"soak": str(number)}}


def main():
    options = arguments()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    started = []
    try:
        return soak(options, started)
    except (RuntimeError, OSError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
        print(f"no verdict: {error}", file=sys.stderr)
        return 2
    finally:
        for process in started:
            process.end()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gateway", type=pathlib.Path, help="the jwe-gateway binary")
    parser.add_argument("--cuts", type=int, default=1000, help="hard cuts of the key, one second apart (1000)")
    parser.add_argument("--rate", type=int, default=200, help="requests per second (200)")
    parser.add_argument("--restart-every", type=float, default=30, help="seconds between restarts (30)")
    options = parser.parse_args()
    options.gateway = options.gateway.resolve()
    if not os.access(options.gateway, os.X_OK):
        parser.error(f"no executable file: {options.gateway}")
    if not shutil.which("haproxy"):
        parser.error("haproxy is not installed (Debian: apt-get install haproxy)")
    return options


def soak(options, started):
    sandbox = Sandbox(options.gateway, started)
    gateways = [Gateway(options.gateway, name, sandbox.provider, started) for name in "abc"]
    for gateway in gateways:
        gateway.start()
    haproxy = Haproxy(gateways, started)

    records = RecordReader(sandbox.management, options.rate)
    load = Load(haproxy.port, options.rate)
    stop = threading.Event()
    memory = collections.defaultdict(list)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor() as threads:
        cuts = threads.submit(cut_keys, sandbox, options.cuts, stop)
        revocations = threads.submit(revoke_tokens, sandbox, stop)
        restarts = threads.submit(restart_in_turn, gateways[:2], options.restart_every, stop)
        try:
            while not cuts.done():
                concurrent.futures.wait([cuts, revocations, restarts], 15, concurrent.futures.FIRST_COMPLETED)
                for process in [gateways[2], sandbox, haproxy]:
                    memory[process.name].append(process.sample())
                so_far = f"{sandbox.cuts} cuts, {load.sent} requests, {len(load.failures)} failed"
                print(f"{time.monotonic() - began:6.0f} s: {so_far}", flush=True)
                if revocations.done() or restarts.done():
                    break  # They have failed: result() says why.
        finally:
            stop.set()
            load.stop()
    done = {"cuts": cuts.result(), "revocations": revocations.result(), "restarts": len(restarts.result())}
    # Processes of the same age: the first two end at another age than those after them.
    if of_same_age := restarts.result()[2:]:
        memory["gateways a and b, in turn"] = of_same_age
    return report(load, records.finish(), done, memory)


def cut_keys(sandbox, count, stop):
    """The second counts from the response, which can take a while: a request is sealed again for one cut only."""
    while sandbox.cuts < count and not stop.wait(1):
        sandbox.manage("POST", "/rotate?overlap=false")
        sandbox.cuts += 1
    return sandbox.cuts


def revoke_tokens(sandbox, stop):
    count = 0
    while not stop.wait(SECONDS_BETWEEN_REVOCATIONS):
        sandbox.manage("POST", "/revoke-tokens")
        count += 1
    return count


def restart_in_turn(gateways, every, stop):
    """Returns the memory and the descriptors of each process before its end."""
    samples = []
    due = time.monotonic() + every
    while not stop.wait(max(0, due - time.monotonic())):
        gateway = gateways[len(samples) % len(gateways)]
        samples.append(gateway.sample())
        gateway.restart()
        due += every
    return samples


def report(load, records, done, memory):
    lost = set(load.failures) | {number for number in range(load.sent) if records.processed[number] == 0}
    twice = [number for number in range(load.sent) if records.processed[number] > 1]
    latencies = sorted(load.latencies)
    quantile = lambda part: 1000 * latencies[min(len(latencies) - 1, int(part * len(latencies)))]
    print()
    print(f"requests         {load.sent} ({load.sent / load.seconds:.1f} per second)")
    print(f"lost             {len(lost)}")
    print(f"processed twice  {len(twice)}")
    print(f"cuts             {done['cuts']} ({records.key_refusals} messages were sealed with a withdrawn key)")
    print(f"revocations      {done['revocations']} ({records.token_refusals} requests had a revoked token)")
    print(f"restarts         {done['restarts']}")
    print(f"latency          p50 {quantile(0.5):.1f} ms, p99 {quantile(0.99):.1f} ms, max {quantile(1):.1f} ms")
    print()
    print(f"{'memory and descriptors':30}{'start':>36}{'middle':>36}{'end':>36}")
    for name, samples in memory.items():
        shown = [samples[0], samples[len(samples) // 2], samples[-1]]
        cells = [f"age {one.age:.0f} s: {one.kib / 1024:.1f} MiB, {one.descriptors} fds" for one in shown]
        print(f"{name:30}" + "".join(f"{cell:>36}" for cell in cells))
    for number in sorted(lost | set(twice))[:20]:
        failure = load.failures.get(number, "the expected response")
        print(f"\n{request_id(number)}: {failure}; processed {records.processed[number]} times")
    for line in records.unexpected[:20]:
        print(f"\nunexpected at the provider: {line}")
    if records.missed or min(records.key_refusals, records.token_refusals) == 0:
        print(f"\nno verdict: {records.missed} records were missed, or no request met a cut, or none met a revocation")
        return 2
    return 1 if lost or twice or records.unexpected else 0


def request_id(number):
    return f"soak-{RUN}-{number}"


class Load:
    """Sends requests at a constant rate, each when it is due, over connections that are kept.

    The latency counts from the time when a request was due. So a slow gateway cannot hide it by slowing the load.
    """

    def __init__(self, port, rate):
        self.sent = 0
        self.failures = {}
        self.latencies = []
        self.seconds = 0
        self._port = port
        self._due = queue.SimpleQueue()
        self._stop = threading.Event()
        self._clients = [threading.Thread(target=self._send_all, daemon=True) for _ in range(CLIENT_CONNECTIONS)]
        self._schedule = threading.Thread(target=self._schedule_all, args=[rate], daemon=True)
        for thread in [*self._clients, self._schedule]:
            thread.start()

    def stop(self):
        """Returns when every request that was due has ended."""
        self._stop.set()
        self._schedule.join()
        for _ in self._clients:
            self._due.put(None)
        for client in self._clients:
            client.join()

    def _schedule_all(self, rate):
        began = time.monotonic()
        while not self._stop.is_set():
            due = began + self.sent / rate
            time.sleep(max(0, due - time.monotonic()))
            self._due.put((self.sent, due))
            self.sent += 1
        self.seconds = time.monotonic() - began

    def _send_all(self):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=CLIENT_TIMEOUT)
        while task := self._due.get():
            number, due = task
            request = request_numbered(number)
            headers = {"X-Request-Id": request_id(number)}
            if request.body:
                headers["Content-Type"] = "application/json"
            try:
                connection.request(request.method, request.target, request.body or None, headers)
                response = connection.getresponse()
                body = response.read()
                if response.status != request.status or request.text not in body:
                    self.failures[number] = f"{clock()} {response.status} {dict(response.getheaders())} {body[:300]}"
            except (OSError, http.client.HTTPException) as error:
                self.failures[number] = f"{clock()} {error!r}"
                connection.close()
            self.latencies.append(time.monotonic() - due)


class RecordReader:
    """Reads the records of the sandbox in a process of its own: to parse them would stop the load for a while."""

    def __init__(self, management, rate):
        self._finish, theirs = multiprocessing.Pipe()
        reading = [theirs, management, RECORDS_PER_READING / rate]
        self._process = multiprocessing.get_context("fork").Process(target=self._run, args=reading, daemon=True)
        self._process.start()
        theirs.close()  # So that recv() ends if the process does.

    def finish(self):
        """The records up to now."""
        try:
            self._finish.send("finish")
            return self._finish.recv()
        except EOFError:
            raise RuntimeError("the records of the sandbox could not be read") from None

    @staticmethod
    def _run(finish, management, seconds):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        records = Records()
        finished = False
        while not finished:
            finished = finish.poll(seconds)
            records.add(ask(management, "GET", "/received"))
        finish.send(records)


class Records:
    """What the sandbox did with each request."""

    def __init__(self):
        self.processed = collections.Counter()
        self.key_refusals = 0
        self.token_refusals = 0
        self.unexpected = []
        self.missed = 0
        self._next = 1

    def add(self, received):
        for record in received["requests"]:
            if record["number"] >= self._next:
                self.missed += record["number"] - self._next
                self._next = record["number"] + 1
                self._add(record)

    def _add(self, record):
        if record["status"] == 401:
            self.token_refusals += 1
        elif record["unopened"]:
            self.key_refusals += 1
        else:
            number = int(dict(record["headers"])["x-request-id"].removeprefix(f"soak-{RUN}-"))
            request = request_numbered(number)
            was_sealed = record["protected_header"] is not None
            body = base64.b64decode(record["plaintext_base64"])
            seen = (record["method"], record["target"], body, record["status"], was_sealed)
            if seen == (request.method, request.target, request.body, request.status, bool(request.body)):
                self.processed[number] += 1
            else:
                self.unexpected.append(f"{request_id(number)}: {record}")


def clock():
    return time.strftime("%H:%M:%S", time.gmtime())


if __name__ == "__main__":
    sys.exit(main())
