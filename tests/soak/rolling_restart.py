#!/usr/bin/env python3
"""No request fails while two egresses are restarted in turn, a key is cut and a caller's key is rotated by reloads.

    tests/soak/rolling_restart.py target/release/jwe-gateway                # as .ci/run does, about 20 s
    tests/soak/rolling_restart.py target/release/jwe-gateway --without health-checks    # must exit with 1

    load --> sidecar --> HAProxy --> egresses a, b --> sandbox

The sidecar and the egresses run with deploy/sidecar.toml and deploy/egress.toml, unchanged but for their addresses.
HAProxy repeats nothing (`retries 0`): what the egresses lose, the client loses.

A request has failed if the client does not get the provider's documented response, or if the sandbox has not
opened exactly its method, target and body, once.

Needs Python 3.9 without packages, and `haproxy`. All ports are free ones on loopback. The logs stay in target/soak.

Exit code: 0 no request failed, 1 some did, 2 no verdict.
"""

import argparse
import concurrent.futures
import hashlib
import http.client
import os
import pathlib
import secrets
import sys
import time

from processes import WORK, Gateway, Haproxy, Sandbox, add_binary, run_test
from traffic import Load, RecordReader, Verdict

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
SIDECAR_KEY = WORK / "secrets" / "sidecar_key"
DIGESTS = WORK / "secrets" / "sidecar_key.sha256"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_binary(parser)
    parser.add_argument("--rate", type=int, default=200, help="requests per second (200)")
    parser.add_argument("--seconds", type=float, default=20, help="how long requests are sent, at least 20 (20)")
    parser.add_argument(
        "--without", choices=["health-checks", "drain-delay"],
        help="leave out what a rolling restart needs, to see requests fail",
    )  # fmt: skip
    options = parser.parse_args()
    if options.seconds < 20:
        parser.error("--seconds must be at least 20: each restart takes 6 s")
    return options


def rolling_restart(options, started):
    sandbox = Sandbox(options.gateway, started)
    settings = ["--config", DEPLOY / "egress.toml", "--upstream", sandbox.provider]
    if options.without == "drain-delay":
        settings += ["--drain-delay", "0s"]
    egresses = [Gateway(options.gateway, f"egress-{name}", started, *settings) for name in "ab"]
    for egress in egresses:
        egress.start()
    haproxy = Haproxy(egresses, started, are_checked=options.without != "health-checks")
    upstream = f"http://127.0.0.1:{haproxy.port}"
    sidecar = Gateway(
        options.gateway, "sidecar", started, "--config", DEPLOY / "sidecar.toml", "--upstream", upstream
    )  # fmt: skip
    sidecar.start()

    records = RecordReader(sandbox.management, options.rate)
    load = Load(sidecar.port, options.rate)
    timeline = Timeline()
    with concurrent.futures.ThreadPoolExecutor() as threads:
        try:
            # The second cut comes while both egresses serve, the others while one of them stops or starts.
            at = [options.seconds * part for part in (0.1, 0.2, 0.5, 0.55, 0.7)]
            parts = [
                threads.submit(in_turn, timeline, [
                    (at[0], "restart of egress a", egresses[0].restart),
                    (at[2], "reloads: a new key for the sidecar", lambda: rotate_sidecar_key(sidecar, egresses)),
                    (at[3], "restart of egress b", egresses[1].restart),
                ]),
                threads.submit(in_turn, timeline, [
                    (moment, "cut of the provider's key", lambda: sandbox.manage("POST", "/rotate?overlap=false"))
                    for moment in (at[1], at[2], at[4])
                ]),
            ]  # fmt: skip
            for part in concurrent.futures.as_completed(parts):
                part.result()
            timeline.wait_for(options.seconds)
        finally:
            load.stop()
    return report(load, records.finish(), timeline)


class Timeline:
    def __init__(self):
        self._began = time.monotonic()
        self.events = []

    def now(self):
        return time.monotonic() - self._began

    def wait_for(self, moment):
        time.sleep(max(0, moment - self.now()))


def in_turn(timeline, actions):
    for moment, name, action in actions:
        timeline.wait_for(moment)
        began = timeline.now()
        action()
        timeline.events.append((began, timeline.now(), name))


def rotate_sidecar_key(sidecar, egresses):
    """Rotates the key as docs/callers.md says. Each step takes effect by SIGHUP."""
    old, new = SIDECAR_KEY.read_text().strip(), secrets.token_hex(32)
    replace(DIGESTS, DIGESTS.read_text() + hashlib.sha256(new.encode()).hexdigest() + "\n")
    for egress in egresses:
        egress.reload()
        expect(egress, new, 200)
    replace(SIDECAR_KEY, new)
    sidecar.reload()
    replace(DIGESTS, hashlib.sha256(new.encode()).hexdigest() + "\n")
    for egress in egresses:
        egress.reload()
        expect(egress, old, 401)


def replace(path, text):
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.chmod(0o600)
    os.replace(beside, path)


def expect(egress, key, status):
    """Raises an error if the egress's reply to a caller with this key has another status."""
    connection = http.client.HTTPConnection("127.0.0.1", egress.port, timeout=5)
    try:
        connection.request("GET", "/.well-known/jwks.json", headers={"Authorization": f"Bearer {key}"})
        seen = connection.getresponse().status
    finally:
        connection.close()
    if seen != status:
        raise RuntimeError(f"{egress.name}: a reload without effect: {seen} instead of {status} for a caller's key")


def report(load, records, timeline):
    verdict = Verdict(load, records)
    print(f"{'from':>7}{'to':>9}  event")
    for began, ended, name in sorted(timeline.events):
        print(f"{began:6.1f}s{ended:8.1f}s  {name}")
    print()
    verdict.print_summary()
    print(f"resealed         {records.key_refusals} messages were sealed with a withdrawn key first")
    verdict.print_faults()
    if records.missed or records.key_refusals == 0:
        print(f"\nno verdict: {records.missed} records were missed, or no request met a cut")
        return 2
    return 1 if verdict.is_bad else 0


if __name__ == "__main__":
    sys.exit(run_test(rolling_restart, arguments()))
