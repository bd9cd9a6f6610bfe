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


def server():
    return Apache()
