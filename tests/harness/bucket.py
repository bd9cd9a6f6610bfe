"""A bucket of S3 as others see it."""

import hashlib

import boto3
from botocore.config import Config


class Bucket:
    """What is in a folder of a store's bucket, by another client."""

    def __init__(self, store, folder):
        self.store, self.folder = store, folder
        user, password = store.keys
        self.s3 = boto3.client("s3", endpoint_url=store.url, region_name="us-east-1", aws_access_key_id=user,
                               aws_secret_access_key=password, config=Config(s3={"addressing_style": "path"}))

    def url(self, endpoint=None):
        return self.store.storage_url(self.folder, endpoint)

    def names(self, below):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.store.bucket, Prefix=f"{self.folder}/{below}")
        return [found["Key"].removeprefix(f"{self.folder}/") for page in pages for found in page.get("Contents", [])]

    def read(self, name):
        return self.s3.get_object(Bucket=self.store.bucket, Key=f"{self.folder}/{name}")["Body"].read()

    def hashes(self):
        return {hashlib.sha256(self.read(name)).hexdigest() for name in self.names("videos/whole")}

    def uploads(self):
        found = self.s3.list_multipart_uploads(Bucket=self.store.bucket, Prefix=f"{self.folder}/")
        return found.get("Uploads", [])

    def unfinished(self, kind):
        """The ids of objects that were begun: uploads of parts, tails and records."""
        begun = {upload["Key"].rpartition("/")[2] for upload in self.uploads() if f"/{kind}/" in upload["Key"]}
        return begun | {name.split("/")[2] for below in ("tails", "unfinished") for name in self.names(f"{kind}/{below}/")}
