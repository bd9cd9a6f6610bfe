"""moto, which speaks S3 and checks who asks: signatures, keys and policies."""

import json
import subprocess
from urllib.parse import quote, urlencode

from .server import Server, listening, python_with

PACKAGES = ["moto[s3,server,iam]>=5,<6"]

#: Makes a user with keys and a bucket, before keys are checked.
SETUP = """
import json, sys, boto3
url, bucket = sys.argv[1:]
client = lambda name: boto3.client(name, endpoint_url=url, region_name="us-east-1", aws_access_key_id="x",
                                   aws_secret_access_key="y")
iam = client("iam")
iam.create_user(UserName="ann")
key = iam.create_access_key(UserName="ann")["AccessKey"]
rule = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
policy = json.dumps({"Version": "2012-10-17", "Statement": rule})
iam.put_user_policy(UserName="ann", PolicyName="all", PolicyDocument=policy)
client("s3").create_bucket(Bucket=bucket)
print(json.dumps([key["AccessKeyId"], key["SecretAccessKey"]]))
"""

#: Puts files, with the keys.
PUT = """
import json, sys, boto3
url, bucket, user, password, files = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=user,
                  aws_secret_access_key=password)
for name, path, coding in json.loads(files):
    s3.put_object(Bucket=bucket, Key=name, Body=open(path, "rb"), **({"ContentEncoding": coding} if coding else {}))
"""


def install():
    """The Python that has moto, and boto3 to fill a bucket."""
    return python_with("moto", "s3", *PACKAGES)


class S3(Server):
    """A bucket on `url`, for those who sign with `keys`."""

    name = "s3"
    scheme, bucket = "s3", "talks"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def prepare(self):
        self.python = install()

    def command(self):
        return [self.python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)], {}

    def answers(self):
        return listening(self.port)

    def start(self):
        super().start()
        self.set_up()
        return self

    def set_up(self):
        """Makes keys and bucket."""
        self.keys = json.loads(self._run(SETUP, self.bucket))
        # From now on, moto asks for a signature and checks it.
        import requests
        requests.post(f"{self.url}/moto-api/reset-auth", data=b"0", timeout=30).raise_for_status()

    def _run(self, program, *words):
        done = subprocess.run([self.python, "-c", program, self.url, *words],
                              text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def put(self, files):
        """Objects: [(name, path, Content-Encoding or None)]."""
        files = json.dumps([(name, str(path), coding) for name, path, coding in files])
        self._run(PUT, self.bucket, *self.keys, files)

    def storage_url(self, prefix="", url=None, **more):
        """The bucket as a storage of the service."""
        query = urlencode({"endpoint": url or self.url, "region": "us-east-1", **more})
        return f"s3://{':'.join(quote(key, safe='') for key in self.keys)}@{self.bucket}/{prefix}?{query}"

    def environment(self, url=None, right=True):
        user, password = self.keys
        return {"AWS_ENDPOINT_URL": url or self.url, "AWS_ACCESS_KEY_ID": user, "AWS_REGION": "us-east-1",
                "AWS_SECRET_ACCESS_KEY": password if right else "no"}


def server():
    return S3()
