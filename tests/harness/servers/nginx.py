"""nginx from Debian, serving a folder: over HTTP, and over TLS where it is given a certificate."""

import os
import shutil

from .server import Missing, Server, free_port, listening

#: Debian keeps it here, which is not on everybody's PATH.
SBIN = "/usr/sbin"


def find(name, package):
    path = os.environ.get("PATH", os.defpath) + os.pathsep + SBIN
    found = shutil.which(name, path=path)
    if not found:
        raise Missing(f"no {name} on the PATH: install {package}")
    return found


class Nginx(Server):
    """`folder/www` on `url`; what is below /private/ asks for ann:secret; /moved/… leads to /…, /away/… to `away`."""

    name = "nginx"

    def __init__(self, certificate=None, away="http://127.0.0.1:1"):
        super().__init__()
        self.certificate, self.away = certificate, away
        self.tls_port = free_port()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self):
        return f"https://localhost:{self.tls_port}"

    @property
    def www(self):
        return self.path("www")

    def prepare(self):
        find("nginx", "nginx")
        os.makedirs(self.path("www", "private"))
        # ann:secret, by `openssl passwd -apr1`.
        with open(self.path("users"), "w") as users:
            users.write("ann:{PLAIN}secret\n")
        tls = ""
        if self.certificate:
            tls = (f"listen 127.0.0.1:{self.tls_port} ssl; ssl_certificate {self.certificate}; "
                   f"ssl_certificate_key {self.certificate};")
        user = "user root;" if os.geteuid() == 0 else ""
        with open(self.path("nginx.conf"), "w") as conf:
            conf.write(f"""
{user}
daemon off; worker_processes 1; pid {self.path("pid")}; error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log {self.path("access.log")};
    client_body_temp_path {self.path("t1")}; proxy_temp_path {self.path("t2")}; fastcgi_temp_path {self.path("t3")};
    uwsgi_temp_path {self.path("t4")}; scgi_temp_path {self.path("t5")};
    server {{
        listen 127.0.0.1:{self.port}; {tls}
        root {self.www};
        location /private/ {{ auth_basic "private"; auth_basic_user_file {self.path("users")}; }}
        location ~ ^/moved/(.*)$ {{ return 302 /$1; }}
        location ~ ^/away/(.*)$ {{ return 302 {self.away}/$1; }}
        location /whole/ {{ alias {self.www}/; max_ranges 0; }}
    }}
}}
""")

    def command(self):
        return [find("nginx", "nginx"), "-c", self.path("nginx.conf"), "-p", self.folder], {}

    def answers(self):
        return listening(self.port)


def server():
    return Nginx()
