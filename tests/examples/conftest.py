"""A Python as the examples' readers make it: with our wheel, and with the packages that an example asks for."""

import functools
import resource
import subprocess

import pytest

from harness import MEDIA, ROOT, TARGET
from harness.service import inherited

EXAMPLES = ROOT / "examples"


def environment(name, requirements):
    """The python of an environment with what a file of requirements lists, and the wheel that its tests made, or one
    built here."""
    packages = [line for line in requirements.read_text().splitlines() if line and not line.startswith("#")]
    made = subprocess.run([ROOT / "scripts" / "venv", name, *packages], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"pip cannot install {requirements.relative_to(ROOT)}")
    python = made.stdout.strip()
    wheels = sorted((TARGET / "wheels-python").glob("*.whl"))
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--force-reinstall", "--no-deps"]
    subprocess.run([*pip, wheels[-1] if wheels else ROOT / "micropy-py"], check=True)
    return python


@pytest.fixture(scope="session")
def environments():
    """`environment`, which makes each once."""
    return functools.cache(environment)


@pytest.fixture(scope="session")
def python(environments):
    """For the examples that are one file."""
    return environments("examples", EXAMPLES / "requirements.txt")


@pytest.fixture
def start(python, tmp_path):
    """Starts a program of examples/ by the words after `python`, with settings in its environment. What it says is in
    the file `log` of what is returned. It ends with the test."""
    processes = []

    def start(*words, **settings):
        log = tmp_path / f"{len(processes)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen([python, *map(str, words)], stdout=file, stderr=file, **setup(settings))
        process.log = log
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def run(python):
    """Runs one to its end, and returns what `subprocess.run` does."""
    def run(*words, **settings):
        return subprocess.run([python, *map(str, words)], capture_output=True, text=True, timeout=240, **setup(settings))
    return run


def setup(settings):
    """How a program is started; LIMIT_FILE_SIZE among its settings is what it may write to one file, in bytes."""
    limit = settings.pop("LIMIT_FILE_SIZE", None)
    return {
        "cwd": EXAMPLES, "stdin": subprocess.DEVNULL,
        "env": {**inherited(), "PYTHONDONTWRITEBYTECODE": "1", **{name: str(value) for name, value in settings.items()}},
        "preexec_fn": None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    }


@pytest.fixture(scope="session")
def expected(python, tmp_path_factory):
    """What a conversion at 128 kbit/s makes of a clip: by its name, the MP3 as a file and as a stream gets it. Of a file
    the beginning is written again at the end."""
    @functools.cache
    def expected(name, into):
        path = tmp_path_factory.mktemp("expected") / "a.mp3"
        program = """import micropy, sys
with open(sys.argv[2], "wb") as file:
    stream = type("Stream", (), {"write": lambda self, data: file.write(data)})()
    micropy.convert(sys.argv[1], file if sys.argv[3] == "file" else stream, bitrate=128)"""
        subprocess.run([python, "-c", program, MEDIA / name, path, into], check=True)
        return path.read_bytes()
    return expected
