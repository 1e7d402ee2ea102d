"""Findings from a listener's status for its operator: what is wrong, and what to change. For `metlog doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from metlog.diagnose.doctor import Finding, Verdict

__all__ = ["diagnose"]

_SLOW: Final = (
    "the sender does not keep up: larger frames (buffer.max_frame), more room (buffer.max_bytes), or another sender"
)
_AWAY: Final = "the listener was not to be reached: the sender `fallback` keeps events in a file meanwhile"
_END: Final = "the process ended first: a longer exit_timeout, or flush() before it ends"
_REMEDIES: Final[Mapping[str, str]] = {
    "buffer_full": _SLOW,
    "queue_full": _SLOW,
    "full": "what the sender writes to took no more: see the clients' logs",
    "unreachable": _AWAY,
    "refused": _AWAY,
    "timeout": _AWAY,
    "unresolved": "the listener's name could not be resolved: give an address, or mend DNS",
    "too_large": "an event is larger than a frame of its sender: raise buffer.max_frame, or say less",
    "closed": _END,
    "exit": _END,
}


def diagnose(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Yields findings from what `metlog.listener.service.Service.status` returns."""
    for text in status.get("health") or []:
        yield Finding(Verdict.FAIL, f"listener: {text}", _health(text))
    yield from _outputs(status.get("outputs") or {})
    yield from _drops(status.get("sockets") or {})
    yield from _delivery(status.get("delivery") or {})
    if damaged := int((status.get("recovered") or {}).get("damaged_bytes", 0)):
        yield Finding(
            Verdict.WARN,
            f"{damaged:,} bytes of the journal did not verify at the start and were skipped",
            "quarantine/ of the journal has them: metlog journal check",
        )
    if unwritten := int(status.get("dead_letters_unwritten", 0)):
        yield Finding(
            Verdict.WARN,
            f"{unwritten:,} dead letters were counted and not kept",
            "make room on the disk of the data folder",
        )
    if full := int((status.get("intake") or {}).get("dropped_full", 0)):
        yield Finding(
            Verdict.WARN,
            f"{full:,} events were dropped while the journal took none",
            "metlog journal status shows which output is behind, and the room that is left; journal.max_bytes bounds it",
        )


def _outputs(outputs: Mapping[str, Any]) -> Iterator[Finding]:
    """Where the outputs deliver, and the last error of each."""
    for name, output in outputs.items():
        where = f"output {name}" + (f" delivers to {output['describe']}" if output.get("describe") else "")
        if error := output.get("error"):
            yield Finding(
                Verdict.WARN, f"{where}: {error}", "meanwhile the journal keeps its events: metlog journal status"
            )
        else:
            yield Finding(Verdict.OK, where)


def _health(text: str) -> str:
    if text.startswith("journal:"):
        return "metlog journal status shows what holds the room: an output that is behind, or the disk; see docs/reliability.md"
    if text.startswith("output "):
        return "mend what its error names; meanwhile the journal keeps its events: metlog journal status"
    return "see the listener's log"


def _drops(inputs: Mapping[str, Any]) -> Iterator[Finding]:
    """What the kernel dropped, socket by socket."""
    found = False
    for item, sockets in inputs.items():
        for socket in sockets:
            if drops := int(socket.get("kernel_drops", 0)):
                found = True
                buffer = int(socket.get("receive_buffer", 0))
                yield Finding(
                    Verdict.WARN,
                    f"the kernel dropped {drops:,} datagrams at {socket.get('address')} before the listener could read them",
                    f"raise receive_buffer of the input {item} (it has {buffer:,} bytes; net.core.rmem_max bounds it for users "
                    f"other than root), or sockets (it has {len(sockets)}), or use larger frames in the clients",
                )
    if inputs and not found:
        yield Finding(Verdict.OK, "the kernel dropped no datagram")


def _delivery(delivery: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings from the loss accounting of the client streams."""
    if lost := int(delivery.get("lost", 0)):
        received = int(delivery.get("received", 0))
        yield Finding(
            Verdict.WARN,
            f"{lost:,} of {lost + received:,} events were lost on the way since the listener started",
            "see which clients, and when: metlog report delivery, metlog report delivery-by-minute; if the kernel dropped none "
            "here, they were lost in the network",
        )
    for reason, count in (delivery.get("dropped_by_client") or {}).items():
        yield Finding(
            Verdict.WARN,
            f"clients say that they dropped {int(count):,} events: {reason}",
            _REMEDIES.get(reason, "see the clients' logs; metlog report delivery shows which clients"),
        )
    if forgotten := int(delivery.get("forgotten", 0)):
        yield Finding(
            Verdict.WARN,
            f"{forgotten:,} client streams were forgotten, the longest silent ones first: losses are counted anew when they come back",
            "raise listener.streams (some 400 bytes each); the reports are exact in any case",
        )
