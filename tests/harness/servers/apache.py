"""The Apache HTTP server from Debian, serving a folder."""

import os

from .nginx import find
from .server import Server, listening

MODULES = "/usr/lib/apache2/modules"


class Apache(Server):
    """`folder/www` on `url`."""

    name = "apache"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def www(self):
        return self.path("www")

    def prepare(self):
        find("apache2", "apache2")
        os.mkdir(self.www)
        with open(self.path("apache.conf"), "w") as conf:
            conf.write(f"""
ServerRoot {self.folder}
ServerName localhost
PidFile {self.path("pid")}
ErrorLog {self.path("error.log")}
Listen 127.0.0.1:{self.port}
LoadModule mpm_event_module {MODULES}/mod_mpm_event.so
LoadModule authz_core_module {MODULES}/mod_authz_core.so
Mutex file:{self.folder}
DocumentRoot {self.www}
<Directory {self.www}>
    Require all granted
</Directory>
""")

    def command(self):
        # It gives up root where it can, and then cannot read what tests write.
        return [find("apache2", "apache2"), "-f", self.path("apache.conf"), "-DFOREGROUND"], {}

    def answers(self):
        return listening(self.port)


class Proxy(Server):
    """Apache as a proxy, with the settings of its manual: tunnels go to port 443 alone. Asks for ann:secret if told to."""

    name = "proxy"

    def __init__(self, login=False):
        super().__init__()
        self.login = login

    def url(self, login=""):
        return f"http://{login}127.0.0.1:{self.port}"

    def prepare(self):
        find("apache2", "apache2-bin")
        # ann:secret, as `htpasswd -s` writes it.
        with open(self.path("users"), "w") as users:
            users.write("ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
        modules = ["mpm_event", "authz_core", "authz_user", "authn_core", "authn_file", "auth_basic", "proxy", "proxy_http",
                   "proxy_connect"]
        who = (f"AuthType Basic\n AuthName proxy\n AuthBasicProvider file\n AuthUserFile {self.path('users')}\n "
               "Require valid-user" if self.login else "Require all granted")
        with open(self.path("apache.conf"), "w") as conf:
            conf.write("".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in modules) + f"""
ServerRoot {self.folder}
ServerName localhost
PidFile {self.path("pid")}
ErrorLog {self.path("error.log")}
LogFormat "%r" request
CustomLog {self.path("requests")} request
Listen 127.0.0.1:{self.port}
Mutex file:{self.folder}
ProxyRequests On
<Proxy "*">
    {who}
</Proxy>
""")

    def requests(self):
        """The first lines of the requests so far."""
        with open(self.path("requests")) as lines:
            return lines.read().splitlines()

    command, answers = Apache.command, Apache.answers


def server():
    return Apache()
