"""Celery: an event a task, and its id on every event that is logged in it. One call where the application is made:

from metlog.integrations.celery import install
install()
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

from celery import signals

from metlog.client import MetlogClient
from metlog.core.context import context
from metlog.core.lifecycle import flush_all
from metlog.integrations._common import Names, client_of
from metlog.tracebacks import exception_fields

__all__ = ["TaskLogger", "install"]

_SEVERITIES: Final = {"FAILURE": 3, "RETRY": 4, "REJECTED": 4, "REVOKED": 4, "IGNORED": 6}
_ATTRIBUTE: Final = "metlog_task"


class _Running:
    """A task that is being executed."""

    __slots__ = ("context", "error", "started", "state")

    def __init__(self, task_id: str, name: str) -> None:
        self.error: Any = None
        self.state: str | None = None
        self.context = context(task_id=task_id, task=name).__enter__()
        self.started = perf_counter()


class TaskLogger:
    """Logs each task that a worker executes, once: type `task`, tokens (`task`, name of the task).

    client
        A `MetlogClient`, the name of one, or None for the default; it may be configured later.
    exclude
        Names of tasks of which nothing is logged; `*` at the end stands for anything.
    flush
        Seconds that sending may add to a task, for workers that are killed rather than ended (0: nothing is waited for).

    The payload is `NAME STATE`; fields are `task`, `task_id`, `state`, `ms`, `retries`, `queue`, and with an exception
    `exception_type`, `exception_message` and `traceback` (no local variables). Arguments and results are never logged. Severity 3 for
    a failure, 4 for a retry, else 6. Everything logged inside the task has its `task_id` and `task`.
    """

    def __init__(
        self, client: MetlogClient | str | None = None, *, exclude: Sequence[str] = (), flush: float = 0.0
    ) -> None:
        self._client = client_of(client)
        self._excluded = Names("exclude", exclude)
        self._flush = flush

    def started(self, task_id: str = "", task: Any = None, **_: Any) -> None:
        """`task_prerun`."""
        name = task.name
        if name not in self._excluded:
            setattr(task.request, _ATTRIBUTE, _Running(task_id, name))

    def failed(self, sender: Any = None, exception: Any = None, **_: Any) -> None:
        """`task_failure`."""
        running = getattr(sender.request, _ATTRIBUTE, None)
        if running is not None:  # else the worker's own: the process was lost
            running.error, running.state = exception, "FAILURE"

    def retried(self, sender: Any = None, reason: Any = None, **_: Any) -> None:
        """`task_retry`."""
        running = getattr(sender.request, _ATTRIBUTE, None)
        if running is not None:
            running.error, running.state = reason, "RETRY"

    def ended(self, task_id: str = "", task: Any = None, state: str | None = None, **_: Any) -> None:
        """`task_postrun`."""
        request = task.request
        running = getattr(request, _ATTRIBUTE, None)
        if running is None:
            return
        ms = (perf_counter() - running.started) * 1000.0
        setattr(request, _ATTRIBUTE, None)
        state = running.state or state or "UNKNOWN"
        fields: dict[str, Any] = {"state": state, "ms": round(ms, 3), "retries": request.retries or 0}
        delivery = request.delivery_info
        if isinstance(delivery, dict) and isinstance(delivery.get("routing_key"), str):
            fields["queue"] = delivery["routing_key"]
        if isinstance(running.error, BaseException):
            fields.update(exception_fields(running.error))
        fields["task"], fields["task_id"] = task.name, task_id
        self._client.log(("task", task.name), f"{task.name} {state}", severity=_SEVERITIES.get(state, 6), fields=fields)
        running.context.__exit__(None, None, None)
        if self._flush > 0:
            flush_all(self._flush)


def install(client: MetlogClient | str | None = None, *, exclude: Sequence[str] = (), flush: float = 0.0) -> TaskLogger:
    """Connects a `TaskLogger` to Celery's signals, in the place of the one before; options as there."""
    logger = TaskLogger(client, exclude=exclude, flush=flush)
    for name, receiver in (
        ("task_prerun", logger.started),
        ("task_failure", logger.failed),
        ("task_retry", logger.retried),
        ("task_postrun", logger.ended),
    ):
        signal = getattr(signals, name)
        uid = f"metlog.{name}"
        signal.disconnect(dispatch_uid=uid)
        signal.connect(receiver, weak=False, dispatch_uid=uid)
    return logger
