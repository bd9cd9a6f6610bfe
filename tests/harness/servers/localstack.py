"""LocalStack's S3: it answers as Amazon's does, also to multipart uploads and to conditions of a write."""

import urllib.request

from .s3 import S3
from .server import python_with

#: Its versions from 4.5 on are for a newer Python; the others are those that it was written for.
PACKAGES = ["localstack-core[base-runtime]==4.4.0", "cbor2<5.8", "cryptography<46", "pyopenssl<25.2", "service-identity"]


def install():
    """The Python that has it."""
    return python_with("LocalStack", "localstack", *PACKAGES)


class LocalStack(S3):
    """A bucket on `url`, for those who sign with `keys`. Of requests by signed URLs it checks the signature."""

    name = "localstack"
    patience = 120
    keys = ("test", "test")

    def environment(self):
        return {"MICROPY_TEST_LOCALSTACK_URL": self.storage_url()}

    def prepare(self):
        # boto3, which makes the bucket.
        super().prepare()
        self.program = install()

    def command(self):
        # A program with packages of its own: not with those of whoever starts it.
        return [self.program, "-m", "localstack.runtime.main"], {
            "PYTHONPATH": "",
            "SERVICES": "s3", "GATEWAY_LISTEN": f"127.0.0.1:{self.port}", "EAGER_SERVICE_LOADING": "0",
            "S3_SKIP_SIGNATURE_VALIDATION": "0", "DISABLE_EVENTS": "1", "SKIP_SSL_CERT_DOWNLOAD": "1",
            "DNS_ADDRESS": "0", "LOCALSTACK_VOLUME_DIR": self.path("volume"), "XDG_CACHE_HOME": self.path("cache")}

    def answers(self):
        try:
            with urllib.request.urlopen(f"{self.url}/_localstack/health", timeout=2) as health:
                return b'"s3"' in health.read()
        except OSError:
            return False

    def set_up(self):
        self._run(BUCKET, self.bucket, *self.keys)


BUCKET = """
import sys, boto3
url, bucket, user, password = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=user, aws_secret_access_key=password)
s3.create_bucket(Bucket=bucket)
"""


def server():
    return LocalStack()
