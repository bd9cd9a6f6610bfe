"""Azurite, Microsoft's own stand-in for Azure Blob Storage: it checks signatures by the account's key."""

import base64
import hashlib
import hmac
import secrets
from email.utils import formatdate
from urllib.parse import quote

from . import npm
from .server import Server, listening

VERSION = "2021-12-02"


class Azurite(Server):
    """A container on `url`, for those who sign with the key of `account`."""

    name = "azurite"
    scheme = "az"
    account, bucket = "talks", "shows"

    def __init__(self):
        super().__init__()
        self.key = base64.b64encode(secrets.token_bytes(32)).decode()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def prepare(self):
        self.program = npm.program("azurite/dist/src/blob/main.js")

    def command(self):
        words = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--inMemoryPersistence",
                 "--disableProductStyleUrl", "--skipApiVersionCheck", "--silent"]
        return [*self.program, *words], {"AZURITE_ACCOUNTS": f"{self.account}:{self.key}"}

    def answers(self):
        return listening(self.port)

    def start(self):
        super().start()
        self._put(self.bucket, "restype=container")
        return self

    def put(self, files):
        """Blobs: [(name, path, Content-Encoding or None)]."""
        for name, path, coding in files:
            headers = {"x-ms-blob-type": "BlockBlob"}
            if coding:
                headers["x-ms-blob-content-encoding"] = coding
            self._put(f"{self.bucket}/{quote(name)}", body=path.read_bytes(), **headers)

    def _put(self, path, query="", body=b"", **headers):
        """A request by Shared Key, as Microsoft's "Authorize with Shared Key" describes it."""
        import requests
        headers |= {"x-ms-date": formatdate(usegmt=True), "x-ms-version": VERSION}
        canonical = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        resource = f"/{self.account}/{self.account}/{path}" + "".join(f"\n{q.replace('=', ':')}" for q in query.split() if q)
        # Verb, then eleven headers of which only the length is there.
        lines = ["PUT", "", "", str(len(body) or ""), "", "", "", "", "", "", "", ""]
        signed = "\n".join(lines) + "\n" + canonical + resource
        digest = hmac.new(base64.b64decode(self.key), signed.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {self.account}:{base64.b64encode(digest).decode()}"
        sent = requests.put(f"{self.url}/{self.account}/{path}" + (f"?{query}" if query else ""), data=body,
                            headers=headers, timeout=60)
        assert sent.status_code == 201, sent.text

    def environment(self, url=None, right=True):
        key = self.key if right else base64.b64encode(b"no").decode()
        text = f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={key};" \
               f"BlobEndpoint={url or self.url}/{self.account};"
        return {"AZURE_STORAGE_CONNECTION_STRING": text}


def server():
    return Azurite()
