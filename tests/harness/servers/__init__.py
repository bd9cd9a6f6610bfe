"""The real servers, started when the first test asks for them and shared by all that follow."""

import importlib
from concurrent.futures import ThreadPoolExecutor

from .server import Missing


class Servers:
    """RabbitMQ, MongoDB, MariaDB, a mail server and two that speak S3, as far as anybody has asked for them."""

    #: Those that all services need; and all.
    USUAL = ("rabbitmq", "mongodb", "mariadb", "smtp")
    NAMES = (*USUAL, "moto", "localstack")

    def __init__(self):
        self.started = {}

    def __getattr__(self, name):
        if name not in self.NAMES:
            raise AttributeError(name)
        self.start(name)
        return self.started[name]

    def start(self, *names):
        """Starts these, all at the same time; raises Missing where one is not installed."""
        wanted = [name for name in names or self.USUAL if name not in self.started]
        with ThreadPoolExecutor() as pool:
            begun = {name: pool.submit(self._start, name) for name in wanted}
        self.started |= {name: one.result() for name, one in begun.items() if one.exception() is None}
        for one in begun.values():
            one.result()
        return self

    @staticmethod
    def _start(name):
        server = importlib.import_module(f"{__name__}.{name}").server()
        try:
            return server.start()
        except BaseException:
            server.close()
            raise

    @property
    def environment(self):
        """The addresses of those that are started, by the names that tests find them by."""
        return {name: value for server in self.started.values() for name, value in server.environment().items()}

    def close(self):
        for server in self.started.values():
            server.close()
        self.started = {}
