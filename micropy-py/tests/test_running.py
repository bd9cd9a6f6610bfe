"""Conversions beside other threads, signals, event loops and callbacks that misbehave."""

import asyncio
import io
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import micropy
import pytest
import tqdm


class Odd(Exception):
    pass


def test_what_callbacks_raise_comes_through(clip):
    class Reading(io.BytesIO):
        def read(self, size=-1):
            raise odd

    class Writing:
        def write(self, data):
            raise odd

    def progress(_):
        raise odd

    odd = Odd("mine")
    token = micropy.CancelToken()
    for call in (
        lambda: micropy.convert(Reading(clip.read_bytes()), cancel=token),
        lambda: micropy.convert(clip, Writing(), cancel=token),
        lambda: micropy.convert(clip, progress=progress, cancel=token),
        lambda: micropy.probe(Reading(clip.read_bytes())),
    ):
        with pytest.raises(Odd) as raised:
            call()
        assert raised.value is odd
    assert not token.cancelled


def test_progress_goes_up_to_the_end(long_clip):
    seen = []
    micropy.convert(long_clip, duration=200, quality=9, progress=seen.append)
    fractions = [p.fraction for p in seen]
    assert len(seen) > 2 and fractions == sorted(fractions) and fractions[-1] == 1.0


def test_a_bar_is_moved_to_its_total(clip):
    class Bar:
        total, n = None, 0

        def update(self, n):
            self.n += n

    bar = Bar()
    micropy.convert(clip, progress=bar)
    assert bar.n == bar.total > 0


@pytest.mark.filterwarnings("error")
def test_tqdm(clip, long_clip):
    shown = io.StringIO()
    with tqdm.tqdm(file=shown, unit="s", mininterval=0) as bar:
        micropy.convert(long_clip, duration=100, quality=9, progress=bar)
        assert bar.n == bar.total == 100
        # It goes on with the next.
        micropy.convert_many([(clip, None), (clip, None)], progress=bar, normalize=-16)
        assert bar.n == bar.total > 100
    assert "100%" in shown.getvalue()


def test_other_threads_run_meanwhile(long_clip):
    count, running = 0, True

    def work():
        nonlocal count
        while running:
            count += 1
            time.sleep(0.001)

    thread = threading.Thread(target=work)
    thread.start()
    started = time.monotonic()
    micropy.convert(long_clip, duration=120, jobs=1)
    seconds = time.monotonic() - started
    seen, running = count, False
    thread.join()
    assert seconds > 0.2 and seen > 100 * seconds


def test_eight_threads_at_once(clip):
    expected, made = micropy.convert(clip).data, []
    work = lambda: made.append(micropy.convert(clip.open("rb")).data)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [expected] * 8


def test_a_token_cancels(long_clip, tmp_path):
    token = micropy.CancelToken()
    threading.Timer(0.3, token.cancel).start()
    started = time.monotonic()
    with pytest.raises(micropy.Cancelled):
        micropy.convert(long_clip, tmp_path / "a.mp3", quality=0, cancel=token)
    assert time.monotonic() - started < 3
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_it(long_clip, tmp_path):
    code = (
        "import micropy, sys\n"
        "print('ready', flush=True)\n"
        "try: micropy.convert(sys.argv[1], sys.argv[2], quality=0)\n"
        "except KeyboardInterrupt: sys.exit(42)\n"
    )
    command = [sys.executable, "-c", code, str(long_clip), str(tmp_path / "a.mp3")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    child.stdout.readline()
    time.sleep(0.5)
    started = time.monotonic()
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 42
    assert time.monotonic() - started < 3
    assert list(tmp_path.iterdir()) == []


def test_the_event_loop_is_served(long_clip):
    """On all cores; how well is measured in benches/python."""

    async def main():
        task = asyncio.create_task(micropy.convert_async(long_clip, duration=300, quality=9))
        delays = []
        while not task.done():
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            delays.append(time.perf_counter() - before)
        return await task, sorted(delays)

    report, delays = asyncio.run(main())
    assert report.duration == 300 and len(delays) > 50
    # Held by the conversion, the loop would stand still for its whole length.
    assert delays[len(delays) // 2] < 0.05


def test_eight_at_once_in_one_loop(clip):
    async def main():
        return await asyncio.gather(*(micropy.convert_async(clip, jobs=1) for _ in range(8)))

    expected = micropy.convert(clip).data
    assert [report.data for report in asyncio.run(main())] == [expected] * 8


def test_a_cancelled_task_ends_its_conversion(long_clip):
    async def main():
        task = asyncio.create_task(micropy.convert_async(long_clip, quality=0))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    started = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - started < 4


def test_memory_stays_flat(clip):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    if not os.path.exists("/proc/self/statm"):
        pytest.skip("no /proc")
    def convert(count):
        for _ in range(count):
            micropy.convert(clip, io.BytesIO())
            micropy.probe(clip)
            with pytest.raises(micropy.NotMp4):
                micropy.convert(b"no film" * 100)

    convert(20)
    before = resident()
    convert(200)
    # Each holds far more than this while it runs.
    assert resident() - before < 16 << 20
