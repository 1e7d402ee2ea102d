"""RQ workers whose jobs lose no events: `rq worker -w metlog.integrations.rq.MetlogWorker`.

RQ's work horse ends each job with `os._exit`, past `atexit` and all threads: a job shorter than `flush_interval` would lose
every event that did not fill a frame, every time.
"""

from __future__ import annotations

from typing import Any

from rq.worker import SimpleWorker, SpawnWorker, Worker

from metlog.core.lifecycle import close_all, flush_all

__all__ = ["FlushesJobs", "MetlogSimpleWorker", "MetlogSpawnWorker", "MetlogWorker"]


class FlushesJobs:
    """Before a job's process ends, sends what was logged, and the end of the stream. For a worker class of your own:

    class MyWorker(FlushesJobs, rq.Worker): ...
    """

    metlog_timeout = 1.0
    """Seconds that sending may add to a job while the collector does not take anything."""

    def perform_job(self, *args: Any, **kwargs: Any) -> Any:
        """As RQ's, failed jobs included."""
        try:
            return super().perform_job(*args, **kwargs)  # type: ignore[misc] # the next class is RQ's
        finally:
            if getattr(self, "_is_horse", False):  # its process is about to end: a stream that says so has lost no tail
                close_all(self.metlog_timeout)
            else:  # SimpleWorker: the process goes on to the next job
                flush_all(self.metlog_timeout)


class MetlogWorker(FlushesJobs, Worker):  # type: ignore[misc] # RQ is checked at run time only
    """`rq.Worker`, a forked process for each job."""


class MetlogSimpleWorker(FlushesJobs, SimpleWorker):  # type: ignore[misc] # as above
    """`rq.SimpleWorker`, all jobs in one process."""


class MetlogSpawnWorker(FlushesJobs, SpawnWorker):  # type: ignore[misc] # as above
    """`rq.worker.SpawnWorker`, a new interpreter for each job."""
