"""Prometheus text (exposition format 0.0.4) of a listener's status, with a bounded number of label values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

__all__ = ["CONTENT_TYPE", "Bounded", "Metric", "of_alerts", "of_listener", "render"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

OTHER: Final = "other"
"""Label of everything beyond the bound."""

_MOST: Final = 200
"""Label sets a metric: what hostile or careless names can make of the page, and of the memory of who scrapes it."""

_GAUGES: Final = frozenset({
    "sockets", "open", "pending_bytes", "bytes_free", "names", "streams", "behind_seconds", "lag", "partitions", "deaths",
    "failed_starts",
})  # fmt: skip
"""Figures among the `stats()` of inputs and outputs that go up and down; all others count from the start."""

Labels = tuple[tuple[str, str], ...]


_LONGEST: Final = 200


class Bounded:
    """Counts by name: the first `most` names each on their own, all later ones together under `other`.

    >>> counts = Bounded(most=1)
    >>> counts.add("a"); counts.add("b"); counts.add("c", 2)
    >>> counts.items()
    [('a', 1), ('other', 3)]
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._counts: dict[str, int] = {}
        self.folded = 0
        """How much was counted under `other`."""

    def name(self, name: str) -> str:
        """The name that this one is counted under, cut at 200 characters; asking for it takes a place."""
        name = name[:_LONGEST]
        if name in self._counts:
            return name
        if len(self._counts) >= self._most:
            return OTHER
        self._counts[name] = 0
        return name

    def add(self, name: str, count: int = 1) -> None:
        known = self.name(name)
        if known in self._counts:
            self._counts[known] += count
        else:
            self.folded += count

    def items(self) -> list[tuple[str, int]]:
        found = sorted(self._counts.copy().items())
        return [*found, (OTHER, self.folded)] if self.folded else found

    def __len__(self) -> int:
        return len(self._counts)


class Metric(Struct):
    """One metric family."""

    name: str
    kind: str
    """`counter`, `gauge` or `untyped`."""
    help: str
    samples: list[tuple[Labels, float]]

    def bounded(self) -> list[tuple[Labels, float]]:
        """The samples; those beyond the bound summed up under `other`."""
        if len(self.samples) <= _MOST:
            return self.samples
        rest = sum(value for _, value in self.samples[_MOST:])
        names = tuple((key, OTHER) for key, _ in self.samples[0][0])
        return [*self.samples[:_MOST], (names, rest)]


def render(metrics: Iterable[Metric]) -> bytes:
    """The page. Metrics without samples are left out."""
    lines: list[str] = []
    for metric in metrics:
        if not metric.samples:
            continue
        lines += (f"# HELP {metric.name} {_escape(metric.help)}", f"# TYPE {metric.name} {metric.kind}")
        for labels, value in metric.bounded():
            inner = ",".join(f'{key}="{_escape(text, quote=True)}"' for key, text in labels)
            lines.append(f"{metric.name}{{{inner}}} {_number(value)}" if inner else f"{metric.name} {_number(value)}")
    return "\n".join([*lines, ""]).encode("utf-8", "replace")


def of_listener(status: Mapping[str, Any]) -> list[Metric]:
    """What `metlog.listener.service.Service.status` tells, as metrics."""
    intake: Mapping[str, Any] = status.get("intake", {})
    journal: Mapping[str, Any] = status.get("journal", {})
    refuses = bool(journal.get("refuses"))
    found = [
        _one("metlog_healthy", "gauge", "1 when inputs, journal and outputs move.", not status["health"]),
        _one("metlog_journal_accepting", "gauge", "0 while the journal takes no events.", not refuses),
        _lost(intake),
        _labelled("metlog_dead_letters_total", "Refused by inputs, kept as dead letters.", "reason", status.get("dead_letters", {})),
        _one(
            "metlog_dead_letters_unwritten_total", "counter", "Dead letters counted and not kept, for want of disk.",
            status.get("dead_letters_unwritten", 0),
        ),
    ]  # fmt: skip
    if run := journal.get("run"):
        text = "The run of the listener, part of the names of its segments and Parquet files."
        found.append(Metric("metlog_journal_info", "gauge", text, [((("run", run),), 1.0)]))
    for key in ("frames", "journaled", "repeated"):
        if key in intake:
            what = "Frames taken." if key == "frames" else f"Events {key}."
            found.append(
                _one(f"metlog_{'' if key == 'frames' else 'events_'}{key}_total", "counter", what, intake[key])
            )
    for key, text in (
        ("segments", "Segments that were open when the listener before this one ended."),
        ("events", "Events of these segments."),
        ("damaged_bytes", "Bytes of these segments that did not verify; copied to quarantine/."),
    ):
        if key in (recovered := status.get("recovered", {})):
            found.append(_one(f"metlog_recovered_{key}", "gauge", f"At the start: {text}", recovered[key]))
    found += _delivery(status.get("delivery", {}), status.get("sockets", {}))
    for key, value in journal.items():
        if isinstance(value, int) and not isinstance(value, bool):
            if key in {"bytes", "segments", "oldest"}:
                found.append(_one(f"metlog_journal_{key}", "gauge", f"Journal: {key} now.", value))
            else:
                found.append(_one(f"metlog_journal_{key}_total", "counter", f"Journal: {key} since the start.", value))
    found += _partitions(status.get("partitions", {}))
    found += of_alerts(status.get("alerts", []))
    found += _upkeep(status.get("upkeep", {})) + _reloads(status.get("reloads", {}))
    return found + _families("input", status.get("inputs", {})) + _families("output", status.get("outputs", {}))


def of_alerts(alerts: Sequence[Mapping[str, Any]]) -> list[Metric]:
    """Gauges of alerts: each in its state, whether it fires, how old its last evaluation is, what is not told."""
    by_name: list[tuple[Labels, float]] = [((("alert", str(item["name"])),), float(item["alarm"])) for item in alerts]
    states: list[tuple[Labels, float]] = [
        ((("alert", str(item["name"])), ("state", str(item["state"]))), 1.0) for item in alerts
    ]
    evaluated: list[tuple[Labels, float]] = [
        ((("alert", str(item["name"])),), float(item["evaluated_at"])) for item in alerts
    ]
    untold: list[tuple[Labels, float]] = [((("alert", str(item["name"])),), float(item["untold"])) for item in alerts]
    return [
        Metric("metlog_alert_firing", "gauge", "1 while an alert fires, until it recovers.", by_name),
        Metric("metlog_alert_state", "gauge", "1 for the state that an alert is in.", states),
        Metric("metlog_alert_evaluated_timestamp_seconds", "gauge", "When an alert was last evaluated.", evaluated),
        Metric("metlog_alert_untold", "gauge", "Notices of an alert that no target has taken yet.", untold),
    ]


def _delivery(delivery: Mapping[str, Any], sockets: Mapping[str, Any]) -> list[Metric]:
    """Loss accounting: totals of all streams, and the kernel's drops by socket."""
    texts = {
        "received": "Events with a number of their stream.",
        "lost": "Numbers missing now between the first and the last of each client stream since the start.",
        "repeated": "Events that came again.",
        "reordered": "Events that came after a later one.",
        "streams": "Client streams begun.",
        "ended": "Client streams whose end record came; each of the others has an unconfirmed tail.",
        "joined": "Client streams met in the middle: what is numbered before the first that came is not counted as lost.",
        "forgotten": "Client streams forgotten for want of memory (listener.streams).",
        "leaps": "Jumps of a million numbers and more, not counted as lost here; reports and SQL do.",
    }
    found = [
        _one(f"metlog_delivery_{key}{'' if key == 'lost' else '_total'}", "gauge" if key == "lost" else "counter", text, delivery[key])
        for key, text in texts.items()
        if key in delivery
    ]  # fmt: skip
    dropped = delivery.get("dropped_by_client", {})
    found.append(
        _labelled("metlog_delivery_dropped_by_client_total", "Events that clients say they dropped.", "reason", dropped)
    )
    drops: list[tuple[Labels, float]] = [
        ((("input", item), ("socket", str(index))), float(socket["kernel_drops"]))
        for item, listed in sockets.items()
        for index, socket in enumerate(listed)
    ]
    text = "Datagrams that the kernel dropped for want of receive buffer, by socket."
    return [*found, Metric("metlog_socket_kernel_drops_total", "counter", text, drops)]


def _upkeep(jobs: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """Of each job of upkeep that the listener does by itself: its runs, and what the last one did."""
    families: dict[str, tuple[str, str, Callable[[Mapping[str, Any]], float]]] = {
        "runs_total": ("counter", "Runs of upkeep.", lambda job: job["runs"]),
        "failures_total": ("counter", "Runs of upkeep that failed, or were held back.", lambda job: job["failures"]),
        "failing": ("gauge", "1 when the last run failed, or was held back.", lambda job: bool(job["error"])),
        "running": ("gauge", "1 while it runs.", lambda job: job["running"]),
        "seconds": ("gauge", "Seconds that the last run took.", lambda job: job["seconds"]),
        "succeeded_timestamp_seconds": (
            "gauge", "When it last succeeded; 0: never.", lambda job: job["succeeded"].timestamp() if job["succeeded"] else 0,
        ),
    }  # fmt: skip
    found = [
        Metric(
            f"metlog_upkeep_{name}", kind, text, [((("job", job),), float(value(facts))) for job, facts in jobs.items()]
        )
        for name, (kind, text, value) in families.items()
    ]
    done: list[tuple[Labels, float]] = [
        ((("job", job), ("figure", key)), float(value))
        for job, facts in jobs.items()
        for key, value in facts["done"].items()
    ]
    return [*found, Metric("metlog_upkeep_last", "gauge", "What the last run did, by figure.", done)]


def _reloads(reloads: Mapping[str, Any]) -> list[Metric]:
    if not reloads:
        return []
    text = "Reloads of the configuration; those refused changed nothing."
    samples: list[tuple[Labels, float]] = [((("result", key),), float(reloads[key])) for key in ("done", "refused")]
    last = "1 when the last reload was refused."
    return [
        Metric("metlog_reloads_total", "counter", text, samples),
        _one("metlog_reload_refused", "gauge", last, bool(reloads["error"])),
    ]


def _partitions(inputs: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[Metric]:
    """Of inputs that read a partitioned log: where they are in each partition."""
    texts = {
        "lag": "Messages of the partition that are not journaled yet.",
        "offset": "Offset of the partition's next message.",
    }
    found = []
    for key, text in texts.items():
        samples: list[tuple[Labels, float]] = [
            ((("input", item), ("partition", partition)), float(place[key]))
            for item, places in inputs.items()
            for partition, place in sorted(places.items())
        ]
        found.append(Metric(f"metlog_partition_{key}", "gauge", text, samples))
    return found


def _lost(intake: Mapping[str, Any]) -> Metric:
    reasons = {"dropped_full": "journal_full", "refused_full": "journal_full_refused"}
    samples: list[tuple[Labels, float]] = [
        ((("reason", reason),), float(intake[key])) for key, reason in reasons.items() if key in intake
    ]
    text = "Events refused because the journal took none; journal_full_refused were told to the client, which may send them again."
    return Metric("metlog_events_not_taken_total", "counter", text, samples)


def _families(kind: str, parts: Mapping[str, Mapping[str, Any]]) -> list[Metric]:
    """One family for each figure that the inputs or outputs give, labelled with their ids."""
    found: dict[str, Metric] = {}
    for part, figures in parts.items():
        for key, value in figures.items():
            labels: Labels = ((kind, part),)
            match value:
                case bool():
                    name, type_, amount = f"metlog_{kind}_{key}", "gauge", float(value)
                case int() | float() if key == "moved":
                    name, type_, amount = f"metlog_{kind}_moved_timestamp_seconds", "gauge", float(value)
                case int() | float() if key.startswith("status_"):
                    name, type_, amount = f"metlog_{kind}_responses_total", "counter", float(value)
                    labels = (*labels, ("status", key.removeprefix("status_")))
                case int() | float() if key in _GAUGES:
                    name, type_, amount = f"metlog_{kind}_{key}", "gauge", float(value)
                case int() | float():
                    name, type_, amount = f"metlog_{kind}_{key}_total", "counter", float(value)
                case str() if key == "error":
                    name, type_, amount = f"metlog_{kind}_failing", "gauge", float(bool(value))
                case _:
                    continue
            name = re.sub(r"[^a-zA-Z0-9_]", "_", name)
            text = f"{kind.capitalize()}: {key.replace('_', ' ') if 'status' not in key else 'answers by status'}."
            found.setdefault(name, Metric(name, type_, text, [])).samples.append((labels, amount))
    return list(found.values())


def _one(name: str, kind: str, text: str, value: float) -> Metric:
    return Metric(name, kind, text, [((), float(value))])


def _labelled(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    return Metric(name, "counter", text, [(((label, key),), float(count)) for key, count in counts.items()])


def _escape(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
