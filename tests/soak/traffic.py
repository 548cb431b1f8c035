"""The requests of a soak, and what the sandbox made of them."""

import base64
import collections
import http.client
import json
import multiprocessing
import queue
import signal
import threading
import time
import uuid

from processes import ask

RUN = uuid.uuid4().hex[:8]

CLIENT_CONNECTIONS = 32
CLIENT_TIMEOUT = 60
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
            more = True
            while more:
                page = ask(management, "GET", f"/received?after={records.last}&limit=5000")
                records.add(page)
                more = page["more"]
        finish.send(records)


class Records:
    """What the sandbox did with each request."""

    def __init__(self):
        self.processed = collections.Counter()
        self.key_refusals = 0
        self.token_refusals = 0
        self.unexpected = []
        self.missed = 0
        self.last = 0

    def add(self, received):
        for record in received["requests"]:
            self.missed += record["number"] - self.last - 1
            self.last = record["number"]
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



class Verdict:
    """Which requests were lost, and which ones the sandbox processed more than once."""

    def __init__(self, load, records):
        self.lost = set(load.failures) | {number for number in range(load.sent) if records.processed[number] == 0}
        self.twice = {number for number in range(load.sent) if records.processed[number] > 1}
        self.is_bad = bool(self.lost or self.twice or records.unexpected)
        self._load = load
        self._records = records

    def print_summary(self):
        latencies = sorted(self._load.latencies)
        quantile = lambda part: 1000 * latencies[min(len(latencies) - 1, int(part * len(latencies)))]
        print(f"requests         {self._load.sent} ({self._load.sent / self._load.seconds:.1f} per second)")
        print(f"lost             {len(self.lost)}")
        print(f"processed twice  {len(self.twice)}")
        print(f"latency          p50 {quantile(0.5):.1f} ms, p99 {quantile(0.99):.1f} ms, max {quantile(1):.1f} ms")

    def print_faults(self):
        for number in sorted(self.lost | self.twice)[:20]:
            failure = self._load.failures.get(number, "the expected response")
            print(f"\n{request_id(number)}: {failure}; processed {self._records.processed[number]} times")
        for line in self._records.unexpected[:20]:
            print(f"\nunexpected at the provider: {line}")


def clock():
    return time.strftime("%H:%M:%S", time.gmtime())
