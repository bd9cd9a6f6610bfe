"""A mail server that keeps what it gets as files, and misbehaves where it is asked to.

It speaks over three ports: with STARTTLS, with TLS from the first byte, and without any TLS or SMTPUTF8.
The first two ask for a login. The part of a recipient before the @ tells it what to do:

    421, 450, 550, any 4xx or 5xx   reply that to RCPT (for a sender: to MAIL)
    data421, data554, any           take the content, then reply that
    hang                            never reply to RCPT
    hangdata                        never reply to the content
    dropdata                        close the connection at DATA
    dropcontent                     close it after the content, and keep nothing
    drop250                         keep the mail and close it before the 250
    after250                        keep the mail, reply 250 and close it

`once-` before any of these (`once-drop250@example.com`) does it for the first mail to that address only.
A user named like a code (`454`) gets that reply to AUTH.
"""

import asyncio
import importlib.util
import json
import os
import re
import socket
import sys
import urllib.parse

if __name__ == "__main__":
    # Run by the python that has aiosmtpd, which needs nothing of the class below.
    Server = object
else:
    from .server import Server, free_port, python_with

USER = "ann@example.com"
#: With characters that a URL has to escape.
PASSWORD = "pass word/of:the@day"
#: Longer than anybody waits.
HOURS = 3600.0


class Smtp(Server):
    """aiosmtpd, in a process of its own."""

    name = "smtp"

    def __init__(self):
        super().__init__()
        self.implicit_port = free_port()
        self.plain_port = free_port()

    def environment(self):
        login = ":".join(urllib.parse.quote(part, safe="") for part in (USER, PASSWORD))
        ca = urllib.parse.quote(self.path("ca.pem"))
        return {
            "MICROPY_TEST_SMTP_URL": f"smtp://{login}@127.0.0.1:{self.port}?ca={ca}",
            "MICROPY_TEST_SMTPS_URL": f"smtps://{login}@127.0.0.1:{self.implicit_port}?ca={ca}",
            "MICROPY_TEST_SMTP_PLAIN_URL": f"smtp://127.0.0.1:{self.plain_port}?tls=none",
            "MICROPY_TEST_SMTP_DIR": self.path("mails"),
        }

    def prepare(self):
        python = sys.executable
        if not (importlib.util.find_spec("aiosmtpd") and importlib.util.find_spec("trustme")):
            # Whoever starts the server may not be a test in target/venv.
            python = python_with("aiosmtpd", "smtp", "aiosmtpd", "trustme")
        with open(self.path("python"), "w") as file:
            file.write(python)
        os.mkdir(self.path("mails"))

    def command(self):
        with open(self.path("python")) as python:
            python = python.read()
        ports = [str(port) for port in (self.port, self.implicit_port, self.plain_port)]
        return [python, os.path.abspath(__file__), self.folder, *ports], {}

    def answers(self):
        # The last to be opened.
        try:
            with socket.create_connection(("127.0.0.1", self.plain_port), 1) as s:
                return s.makefile("rb").read(4) == b"220 "
        except OSError:
            return False


def server():
    return Smtp()


def certify(folder):
    """Makes an authority, ca.pem, and what it says of this server, server.pem with its key."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(os.path.join(folder, "ca.pem"))
    server = authority.issue_cert("localhost", "127.0.0.1")
    server.private_key_and_cert_chain_pem.write_to_path(os.path.join(folder, "server.pem"))


class Mailboxes:
    """What aiosmtpd asks for each command."""

    def __init__(self, folder):
        self.folder = folder
        self.count = len(os.listdir(folder))
        self.seen = set()

    def wish(self, address, forget=False):
        """What an address asks for. With forget, `once-` is used up."""
        local = address.rsplit("@", 1)[0]
        if local.startswith("once-"):
            if address in self.seen:
                return ""
            if forget:
                self.seen.add(address)
            local = local[len("once-"):]
        return local

    async def handle_MAIL(self, server, session, envelope, address, options):
        wish = self.wish(address)
        if re.fullmatch(r"[45]\d\d", wish):
            return f"{wish} {wish[0]}.7.1 the sender asked for it"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        wish = self.wish(address)
        if re.fullmatch(r"[45]\d\d", wish):
            self.wish(address, forget=True)
            return f"{wish} {wish[0]}.1.1 the recipient asked for it"
        if wish == "hang":
            self.wish(address, forget=True)
            await asyncio.sleep(HOURS)
        if wish == "dropdata":
            self.wish(address, forget=True)
            envelope.drop = True
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        wish = self.wish(envelope.rcpt_tos[0], forget=True)
        refused = re.fullmatch(r"data([45]\d\d)", wish)
        if refused:
            return f"{refused[1]} {refused[1][0]}.3.0 the recipient asked for it"
        if wish == "hangdata":
            await asyncio.sleep(HOURS)
        if wish == "dropcontent":
            return self.drop(server)
        self.keep(server, session, envelope)
        if wish == "drop250":
            return self.drop(server)
        if wish == "after250":
            asyncio.get_running_loop().call_later(0.05, server.transport.abort)
        return "250 OK"

    def keep(self, server, session, envelope):
        self.count += 1
        path = os.path.join(self.folder, f"{self.count:06}")
        with open(f"{path}.part", "wb") as mail:
            mail.write(envelope.original_content)
            mail.flush()
            os.fsync(mail.fileno())
        about = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "options": envelope.mail_options,
                 "tls": server.transport.get_extra_info("ssl_object") is not None,
                 "user": (session.auth_data or b"").decode(),
                 "peer": session.peer[1]}
        with open(f"{path}.json", "w") as envelope_file:
            json.dump(about, envelope_file)
        os.rename(f"{path}.part", f"{path}.eml")

    @staticmethod
    def drop(server):
        server.transport.abort()
        return "421 never sent"


def serve(folder, port, implicit_port, plain_port):
    import logging
    import ssl

    from aiosmtpd.smtp import SMTP, AuthResult

    logging.basicConfig(level=logging.WARNING)

    class Submission(SMTP):
        async def smtp_DATA(self, arg):
            if getattr(self.envelope, "drop", False):
                self.transport.abort()
                return
            await super().smtp_DATA(arg)

        async def push(self, status):
            try:
                await super().push(status)
            except ConnectionError:
                # Who drops a connection cannot write to it.
                pass

    def authenticate(server, session, envelope, mechanism, data):
        if re.fullmatch(rb"[45]\d\d", data.login):
            code = data.login.decode()
            return AuthResult(success=False, handled=False,
                              message=f"{code} {code[0]}.7.0 no to {data.password.decode()}")
        right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, handled=False, auth_data=data.login)

    if not os.path.exists(os.path.join(folder, "ca.pem")):
        certify(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(os.path.join(folder, "server.pem"))
    mailboxes = Mailboxes(os.path.join(folder, "mails"))
    login = {"authenticator": authenticate, "auth_required": True}

    async def run():
        loop = asyncio.get_running_loop()
        listeners = [
            (port, None, {"tls_context": tls, "require_starttls": True, "enable_SMTPUTF8": True, **login}),
            # aiosmtpd does not know that this connection is encrypted, and would not take a password.
            (implicit_port, tls, {"enable_SMTPUTF8": True, "auth_require_tls": False, **login}),
            (plain_port, None, {"enable_SMTPUTF8": False}),
        ]
        servers = [
            await loop.create_server(
                lambda options=options: Submission(mailboxes, hostname="localhost", loop=loop, **options),
                "127.0.0.1", listen, ssl=context)
            for listen, context, options in listeners
        ]
        await asyncio.gather(*(server.serve_forever() for server in servers))

    asyncio.run(run())


if __name__ == "__main__":
    serve(sys.argv[1], *(int(port) for port in sys.argv[2:]))
