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
import collections
import concurrent.futures
import sys
import threading
import time

from processes import Gateway, Haproxy, Sandbox, add_binary, run_test
from traffic import Load, RecordReader, Verdict

# A gateway replaces a refused token at most every 4 s in the long run.
SECONDS_BETWEEN_REVOCATIONS = 5


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_binary(parser)
    parser.add_argument("--cuts", type=int, default=1000, help="hard cuts of the key, one second apart (1000)")
    parser.add_argument("--rate", type=int, default=200, help="requests per second (200)")
    parser.add_argument("--restart-every", type=float, default=30, help="seconds between restarts (30)")
    return parser.parse_args()


def soak(options, started):
    sandbox = Sandbox(options.gateway, started)
    settings = ["--upstream", sandbox.provider, "--client-id", "sandbox-client"]
    settings += ["--client-secret-file", "secrets/client_secret"]
    gateways = [Gateway(options.gateway, f"gateway-{name}", started, *settings) for name in "abc"]
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
    verdict = Verdict(load, records)
    print()
    verdict.print_summary()
    print(f"cuts             {done['cuts']} ({records.key_refusals} messages were sealed with a withdrawn key)")
    print(f"revocations      {done['revocations']} ({records.token_refusals} requests had a revoked token)")
    print(f"restarts         {done['restarts']}")
    print()
    print(f"{'memory and descriptors':30}{'start':>36}{'middle':>36}{'end':>36}")
    for name, samples in memory.items():
        shown = [samples[0], samples[len(samples) // 2], samples[-1]]
        cells = [f"age {one.age:.0f} s: {one.kib / 1024:.1f} MiB, {one.descriptors} fds" for one in shown]
        print(f"{name:30}" + "".join(f"{cell:>36}" for cell in cells))
    verdict.print_faults()
    if records.missed or min(records.key_refusals, records.token_refusals) == 0:
        print(f"\nno verdict: {records.missed} records were missed, or no request met a cut, or none met a revocation")
        return 2
    return 1 if verdict.is_bad else 0


if __name__ == "__main__":
    sys.exit(run_test(soak, arguments()))
