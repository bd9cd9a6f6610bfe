"""S3, by moto, which checks every signature."""

from harness.servers.fickle import Fickle


def test_an_object_is_read_with_the_keys_of_the_environment(micropy, store, expected):
    access = {"AWS_ENDPOINT_URL": store.url, **store.environment()}
    done = micropy("convert", f"s3://{store.bucket}/shows/song 50%.mp4", "--json", **access)
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("song 50%.mp3") == expected["song.mp4"]


def test_keys_come_from_the_profile(micropy, store, expected):
    user, password = store.keys
    folder = micropy.home / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(f"[default]\naws_access_key_id = WRONG\naws_secret_access_key = wrong\n"
                                        f"[work]\naws_access_key_id = {user}\naws_secret_access_key = {password}\n")
    (folder / "config").write_text(f"[profile work]\nregion = us-east-1\nendpoint_url = {store.url}\n")
    url = f"s3://{store.bucket}/shows/song 50%.mp4"
    done = micropy("convert", url, "-o", "a.mp3", AWS_PROFILE="work")
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("a.mp3") == expected["song.mp4"]
    done = micropy("convert", url, "-o", "b.mp3", AWS_ENDPOINT_URL=store.url)
    assert done.returncode == 1 and "access is denied" in done.stderr, done.stderr
    assert "wrong" not in done.stderr


def test_what_is_not_there_or_not_allowed_is_told(micropy, store):
    access = {"AWS_ENDPOINT_URL": store.url, **store.environment()}
    done = micropy("probe", f"s3://{store.bucket}/nothing.mp4", **access)
    assert done.returncode == 1 and "there is no such object" in done.stderr, done.stderr
    done = micropy("probe", f"s3://{store.bucket}/talk.mp4", **{**access, "AWS_SECRET_ACCESS_KEY": "no"})
    assert done.returncode == 1 and "access is denied" in done.stderr, done.stderr


def test_ranges_of_an_object_are_read_in_parallel_and_resumed(micropy, store, www):
    fickle = Fickle(("127.0.0.1", store.port))
    local = micropy("convert", www / "talk.mp4", "-o", "local.mp3")
    assert local.returncode == 0, local.stderr
    # The signature holds the name of the host.
    fickle.drop_after, fickle.drops = 500_000, 3
    access = {"AWS_ENDPOINT_URL": fickle.url, **store.environment()}
    done = micropy("convert", f"s3://{store.bucket}/talk.mp4", "-o", "a.mp3", **access)
    assert done.returncode == 0, done.stderr
    assert micropy.bytes("a.mp3") == micropy.bytes("local.mp3")
    assert fickle.drops == 0 and fickle.most_at_once > 1
    assert fickle.sent < 1.15 * (www / "talk.mp4").stat().st_size
    fickle.close()


def test_an_object_that_changes_is_an_error(micropy, store, www, tmp_path):
    fickle = Fickle(("127.0.0.1", store.port))
    fickle.headers = lambda number: {"ETag": '"one"' if number < 3 else '"two"'}
    access = {"AWS_ENDPOINT_URL": fickle.url, **store.environment()}
    done = micropy("convert", f"s3://{store.bucket}/talk.mp4", "-o", "a.mp3", **access)
    assert done.returncode == 1 and "the file changed while it was read" in done.stderr, done.stderr
    fickle.close()


def test_without_credentials_it_says_how_to_give_them(micropy):
    done = micropy("probe", "s3://talks/a.mp4", timeout=60)
    assert done.returncode == 1 and "credentials" in done.stderr, done.stderr
