"""Stores of objects: S3 by moto and by s3rver, Azure by Azurite, Google by fake-gcs-server. moto and Azurite check every
signature, s3rver the name of the key, fake-gcs-server nothing."""

import pytest

from harness.servers.fickle import Fickle

SONG = "shows/song 50%.mp4"


def url(store, name):
    return f"{store.scheme}://{store.bucket}/{name}"


@pytest.fixture
def between(any_store):
    """What counts the requests of a store, and breaks them."""
    fickle = Fickle(("127.0.0.1", any_store.port))
    yield fickle
    fickle.close()


def test_an_object_is_read_as_the_environment_says(micropy, any_store, expected):
    done = micropy("convert", url(any_store, SONG), "--json", **any_store.environment())
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("song 50%.mp3") == expected["song.mp4"]


def test_ranges_of_an_object_are_read_in_parallel_and_resumed(micropy, any_store, between, www, expected):
    between.drop_after, between.drops = 500_000, 3
    done = micropy("convert", url(any_store, "talk.mp4"), "-o", "a.mp3", **any_store.environment(between.url))
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("a.mp3") == expected["talk.mp4"]
    assert between.drops == 0 and between.most_at_once > 1
    size = (www / "talk.mp4").stat().st_size
    print(f"{between.sent} bytes for {size}, {len(between.requests)} requests")
    assert between.sent + between.received < 1.15 * size
    assert len(between.requests) <= 60, len(between.requests)


def test_a_probe_reads_a_part_of_an_object(micropy, any_store, between, www):
    done = micropy("probe", url(any_store, "talk.mp4"), **any_store.environment(between.url))
    assert done.returncode == 0, done.stderr
    assert between.sent < (www / "talk.mp4").stat().st_size / 8, between.ranges()
    assert len(between.requests) <= 6, between.ranges()


def test_what_is_not_there_is_told(micropy, any_store):
    done = micropy("probe", url(any_store, "nothing.mp4"), **any_store.environment())
    assert done.returncode == 1 and "there is no such object" in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["moto", "s3rver", "azurite"])
def test_wrong_credentials_are_told(micropy, stores, name):
    store = stores(name)
    done = micropy("probe", url(store, "talk.mp4"), **store.environment(right=False))
    assert done.returncode == 1 and "access is denied: check the credentials" in done.stderr, done.stderr


def test_an_object_that_changes_is_an_error(micropy, any_store, between):
    between.headers = lambda number: {"ETag": '"one"' if number < 3 else '"two"'}
    done = micropy("convert", url(any_store, "talk.mp4"), "-o", "a.mp3", **any_store.environment(between.url))
    assert done.returncode == 1 and "the file changed while it was read" in done.stderr, done.stderr
    assert not (micropy.folder / "a.mp3").exists()


def test_an_object_behind_a_cache_has_a_weak_tag(micropy, any_store, between, expected):
    """As a cache in front of a store makes of it: such a tag fits no If-Match."""
    tag = '"0x8DC1"'
    between.headers = {"ETag": f"W/{tag}"}
    done = micropy("convert", url(any_store, "talk.mp4"), "-o", "a.mp3", **any_store.environment(between.url))
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("a.mp3") == expected["talk.mp4"]
    assert len(between.requests) > 1
    assert all("if-match" not in map(str.lower, headers) for _, headers in between.requests)


def test_an_object_that_is_stored_compressed_is_refused(micropy, any_store):
    done = micropy("probe", url(any_store, "packed.mp4"), **any_store.environment())
    assert done.returncode == 1 and "stored compressed (gzip)" in done.stderr, done.stderr


def test_keys_come_from_the_profile(micropy, moto, expected):
    user, password = moto.keys
    folder = micropy.home / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(f"[default]\naws_access_key_id = WRONG\naws_secret_access_key = wrong\n"
                                        f"[work]\naws_access_key_id = {user}\naws_secret_access_key = {password}\n")
    (folder / "config").write_text(f"[profile work]\nregion = us-east-1\nendpoint_url = {moto.url}\n")
    done = micropy("convert", url(moto, SONG), "-o", "a.mp3", AWS_PROFILE="work")
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("a.mp3") == expected["song.mp4"]
    done = micropy("convert", url(moto, SONG), "-o", "b.mp3", AWS_ENDPOINT_URL=moto.url)
    assert done.returncode == 1 and "access is denied" in done.stderr, done.stderr
    assert "wrong" not in done.stderr


def test_azures_account_and_key_come_by_either_name(micropy, stores, expected):
    azurite = stores("azurite")
    endpoint = {"AZURE_STORAGE_ENDPOINT": f"{azurite.url}/{azurite.account}"}
    for account, key in (("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY"),
                         ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY")):
        done = micropy("probe", url(azurite, SONG), **endpoint, **{account: azurite.account, key: azurite.key})
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name, variables, why", [
    ("az://shows/a.mp4", {"AZURE_STORAGE_CONNECTION_STRING": "AccountKey=hidden"}, "AZURE_STORAGE_CONNECTION_STRING"),
    ("az://shows/a.mp4", {}, "set AZURE_STORAGE_ACCOUNT_NAME or"),
    ("gs://talks/a.mp4", {"GOOGLE_SERVICE_ACCOUNT_KEY": '{"private_key": "hidden"'}, "service account"),
    ("gs://talks/a.mp4", {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"}, "/nowhere.json"),
])
def test_an_environment_that_is_wrong_is_told_without_its_secrets(micropy, name, variables, why):
    done = micropy("probe", name, **variables)
    assert done.returncode == 1 and why in done.stderr, done.stderr
    assert "hidden" not in done.stderr


def test_without_credentials_it_says_how_to_give_them(micropy):
    done = micropy("probe", "s3://talks/a.mp4", timeout=60)
    assert done.returncode == 1 and "credentials" in done.stderr, done.stderr
