"""A proxy that stands for a server on a bad day. It counts requests and bytes, and spoils responses as it is told."""

import base64
import http.client
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep


def login(headers):
    """The user and password of a request, `user:password`."""
    value = {k.lower(): v for k, v in headers.items()}.get("authorization")
    return base64.b64decode(value.removeprefix("Basic ")).decode() if value else None


class Fickle:
    """In front of `upstream` (host, port). Each attribute below is one way to misbehave, and may be set at any time."""

    def __init__(self, upstream):
        self.upstream = upstream
        #: The next responses, in place of the upstream's: (status, headers).
        self.instead = []
        #: The status of a response that has nothing else, by the number of the request; None: the upstream's.
        self.status = lambda number: None
        #: Bytes of a body after which the connection is dropped; None: never. Of how many responses.
        self.drop_after, self.drops = None, 10**9
        #: Takes the Range out of requests; all of it but the first range; that of several ranges.
        self.ignore_ranges = self.first_range_only = self.no_several = False
        #: The first request of which the Range is taken out.
        self.whole_from = 10**9
        #: Headers to set; a value of None takes one away. May be a function of how many requests there were.
        self.headers = {}
        #: Bytes of a body that are not sent, although promised; or sent beyond it.
        self.shorter = 0
        #: Seconds before each response, of how many; and before each 64 KiB of a body.
        self.delay, self.delayed, self.slow = 0.0, 10**9, 0.0
        #: Closes the connection after each response: and says so, or does not.
        self.closes = self.closes_silently = False
        #: Never answers.
        self.silent = False
        self.lock = threading.Lock()
        self.reset()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reset(self):
        """Begins to count anew."""
        self.requests, self.received, self.sent, self.most_at_once, self.now = [], 0, 0, 0, 0

    @property
    def port(self):
        return self.server.server_address[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def _handler(self):
        fickle = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # A body does not wait until its head is acknowledged, which takes 40 ms.
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do_GET(self):
                with fickle.lock:
                    fickle.requests.append((self.path, dict(self.headers)))
                    fickle.received += len(self.raw_requestline) + len(str(self.headers))
                    fickle.now += 1
                    fickle.most_at_once = max(fickle.most_at_once, fickle.now)
                    number = len(fickle.requests)
                try:
                    self.respond(number)
                except OSError:
                    self.close_connection = True
                finally:
                    with fickle.lock:
                        fickle.now -= 1

            do_PUT = do_POST = do_HEAD = do_GET

            def respond(self, number):
                if number <= fickle.delayed:
                    sleep(fickle.delay)
                while fickle.silent:
                    sleep(0.05)
                with fickle.lock:
                    instead = fickle.instead.pop(0) if fickle.instead else None
                if status := fickle.status(number):
                    instead = (status, {})
                if instead:
                    status, headers = instead
                    return self.send(status, {"Content-Length": "0", **headers}, b"", number)
                asked = {k.lower(): v for k, v in self.headers.items() if k.lower() != "connection"}
                several = "," in asked.get("range", "")
                if fickle.ignore_ranges or number >= fickle.whole_from or several and fickle.no_several:
                    asked.pop("range", None)
                elif several and fickle.first_range_only:
                    asked["range"] = asked["range"].split(",")[0]
                if fickle.headers:
                    # The upstream does not know our tags.
                    asked.pop("if-range", None)
                upstream = http.client.HTTPConnection(*fickle.upstream, timeout=60)
                upstream.request(self.command, self.path, headers=asked)
                got = upstream.getresponse()
                headers = {k: v for k, v in got.getheaders() if k.lower() not in ("connection", "transfer-encoding")}
                self.send(got.status, headers, got, number)
                upstream.close()

            def send(self, status, headers, body, number):
                changes = fickle.headers(number) if callable(fickle.headers) else fickle.headers
                for name, value in changes.items():
                    headers = {k: v for k, v in headers.items() if k.lower() != name.lower()}
                    if value is not None:
                        headers[name] = value
                if fickle.closes:
                    headers = {**headers, "Connection": "close"}
                self.close_connection |= fickle.closes or fickle.closes_silently
                head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
                self.write(head.encode())
                length = next((int(v) for k, v in headers.items() if k.lower() == "content-length"), None)
                if length is None:
                    self.close_connection = True
                left = None if length is None else length - fickle.shorter
                done = 0
                while body and (left is None or left > 0):
                    sleep(fickle.slow)
                    piece = body.read(1 << 16 if left is None else min(1 << 16, left))
                    if not piece:
                        break
                    with fickle.lock:
                        limit = fickle.drop_after
                        drop = limit is not None and fickle.drops > 0 and done + len(piece) > limit
                        fickle.drops -= drop
                    if drop:
                        self.write(piece[:max(fickle.drop_after - done, 0)])
                        self.close_connection = True
                        self.connection.shutdown(socket.SHUT_RDWR)
                        return
                    self.write(piece)
                    done += len(piece)
                    left = None if left is None else left - len(piece)
                if fickle.shorter:
                    self.close_connection = True

            def write(self, data):
                self.wfile.write(data)
                self.wfile.flush()
                with fickle.lock:
                    fickle.sent += len(data)

        return Handler

    def ranges(self):
        """All ranges that were asked for, in order."""
        found = []
        for _, headers in self.requests:
            wanted = {k.lower(): v for k, v in headers.items()}.get("range", "")
            found += [(int(a), int(b) + 1) for a, b in re.findall(r"(\d+)-(\d+)", wanted)]
        return found
