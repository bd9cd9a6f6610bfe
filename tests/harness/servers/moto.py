"""moto as the storage of the service."""

from .s3 import S3


class Moto(S3):
    name = "moto"

    def environment(self):
        return {"MICROPY_TEST_MOTO_URL": self.storage_url()}


def server():
    return Moto()
