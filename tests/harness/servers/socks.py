"""microsocks from Debian, a proxy that speaks SOCKS5, for ann:secret."""

from .nginx import find
from .server import Server, listening


class Socks(Server):
    name = "socks"

    def url(self, scheme="socks5h", login="ann:secret@"):
        return f"{scheme}://{login}127.0.0.1:{self.port}"

    def command(self):
        return [find("microsocks", "microsocks"), "-i", "127.0.0.1", "-p", str(self.port), "-u", "ann", "-P", "secret"], {}

    def answers(self):
        return listening(self.port)


def server():
    return Socks()
