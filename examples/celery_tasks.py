"""A Celery task that converts a video, for workers with prefork.

    pip install celery
    celery --app celery_tasks worker --pool prefork --concurrency 4 --loglevel INFO     # a process for each core
    python celery_tasks.py talk.mp4 talk.mp3                                            # gives it to one, and waits

In production:

- prefork runs `--concurrency` processes, the number of cores by default, each with one task at a time. So `jobs=1`:
  with more, each task would begin as many threads as there are cores.
- micropy begins its threads within a conversion and ends them with it. Importing it before the fork is safe, and memory
  does not grow from task to task: `worker_max_tasks_per_child` is not needed for it.
- A message holds names, not videos. The names have to mean the same to all machines: a shared folder, or a URL
  (https, s3, gs, az) to read from. The MP3 has its name when it is whole, so a task that runs twice does no harm. A
  process that is killed leaves a `.micropy-….part` beside it: remove those of yesterday.
- RabbitMQ takes a message back after half an hour (`consumer_timeout`), also while its task is still running: keep
  `task_time_limit` below that, or raise both.
- Results by `rpc` reach the program that has asked, and nobody else. Where others look them up, set `result_backend`.
"""

import os
import sys

import micropy
from celery import Celery

BROKER = os.environ.get("BROKER_URL", "amqp://guest:guest@localhost:5672//")

app = Celery("celery_tasks", broker=BROKER, backend="rpc://")
app.conf.update(
    # A video is acknowledged when it is done: that of a worker which was killed comes back, and another takes it.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    # Nobody sits on a second one meanwhile.
    worker_prefetch_multiplier=1,
    # Seconds, as the program that sends a task has them. The first ends the conversion, and removes what it has written;
    # the second kills the process.
    task_soft_time_limit=int(os.environ.get("SOFT_TIME_LIMIT", 1200)),
    task_time_limit=1500,
)


# What cannot be read or written now may be later; a video that is no video stays so.
@app.task(bind=True, autoretry_for=(micropy.ReadError, micropy.WriteError), retry_backoff=True, max_retries=5)
def convert(self, video, mp3):
    """Make an MP3 of a video, both by name; the result is the report."""
    def tell(progress):
        self.update_state(state="PROGRESS", meta={"fraction": progress.fraction})

    return micropy.convert(video, mp3, bitrate=128, jobs=1, progress=tell).to_dict()


if __name__ == "__main__":
    report = convert.delay(*sys.argv[1:]).get(
        on_message=lambda message: print(message["status"], message["result"], file=sys.stderr))
    print(f"{report['duration']:.1f} s of {report['codec']}")
