"""s3rver, another that speaks S3: it knows its users by the names of their keys, and keeps objects as files."""

from . import npm
from .s3 import S3


class S3rver(S3):
    """A bucket on `url`, for those who sign with `keys`. Signatures of version 4 are parsed and not computed."""

    name = "s3rver"
    #: It knows this pair alone.
    keys = ("S3RVER", "S3RVER")

    def prepare(self):
        # boto3, which puts the objects.
        super().prepare()
        self.program = npm.program("s3rver/bin/s3rver.js")

    def command(self):
        return [*self.program, "--address", "127.0.0.1", "--port", str(self.port), "--directory", self.path("objects"),
                "--configure-bucket", self.bucket], {}

    def set_up(self):
        """There is nothing left to do."""

    def environment(self, url=None, right=True):
        told = super().environment(url)
        return told if right else told | {"AWS_ACCESS_KEY_ID": "NOBODY"}


def server():
    return S3rver()
