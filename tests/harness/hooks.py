"""An endpoint of webhooks, which keeps what it is sent."""

import queue
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Sent:
    """A request. The names of its headers are in lower case."""

    path: str
    headers: dict
    body: bytes


class Receiver:
    """A server on a port of its own that answers 204, or what it was told to, in turn."""

    def __init__(self):
        self.sent, self.replies = queue.Queue(), queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                reply = receiver.replies.get() if not receiver.replies.empty() else 204
                status, more = reply if isinstance(reply, tuple) else (reply, {})
                self.send_response(status)
                for name, value in {**more, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()
                receiver.sent.put(Sent(self.path, headers, body))

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answers(self, *replies):
        """How it answers the next requests: a status, or a status and headers."""
        for reply in replies:
            self.replies.put(reply)

    def next(self, seconds=15):
        """The next request."""
        return self.sent.get(timeout=seconds)

    def none(self, seconds=3):
        """Whether none comes."""
        try:
            self.sent.get(timeout=seconds)
        except queue.Empty:
            return True
        return False
