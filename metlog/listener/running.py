"""The inputs that run: started, stopped, and replaced by others without a frame being lost between them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from metlog.errors import ConfigError, Problems
from metlog.listener.adapt import adapt_input
from metlog.listener.config import InputConfig
from metlog.listener.inputs import BaseInput, Handed, Sink, Watched
from metlog.listener.signed import SignedSink, Signing

__all__ = ["RunningInputs"]

log = logging.getLogger("metlog.listener")

T = TypeVar("T")

_FILE: Final = "_file"
"""How the names of options end whose values are files that are read once, when the input is made."""


class RunningInputs:
    """The inputs of a listener by their ids, in the order of the configuration. One thread starts, replaces and stops; any may look."""

    def __init__(self, listener: Watched) -> None:
        self._listener = listener
        self._sink: Sink | None = None
        self._signed: dict[str, tuple[Sink, Signing, SignedSink]] = {}
        self._configs: dict[str, InputConfig] = {}
        self._marks: dict[str, object] = {}
        self._ended: dict[str, str] = {}
        """Inputs that could not be started again after a change that failed, and why."""
        self._mute: dict[tuple[str, str], str] = {}
        """Inputs of which a hook, by its name, raised or gave what cannot be told, and what it was."""
        self.items: dict[str, BaseInput] = {}

    def build(self, configs: Sequence[InputConfig], handed: Handed | None = None) -> None:
        """Makes inputs, opening nothing; with `handed` their sockets are bound too. Raises ConfigError, OSError."""
        problems = Problems()
        items: dict[str, BaseInput] = {}
        for config in configs:
            with problems.catch(f"inputs.{config.id}"):
                items[config.id] = adapt_input(config.component.build())
        problems.check()
        self._note(configs, items)
        if handed is not None:
            for name, item in items.items():
                handed.heir = name
                item.bind_sockets(handed)

    def start(self, sink: Sink) -> None:
        """Starts what was built. Raises OSError or ConfigError; then `stop` ends what had begun."""
        self._sink = sink
        for name, item in self.items.items():
            try:
                self._start(self._configs[name], item)
            except (OSError, ConfigError):
                raise
            except Exception as error:
                raise OSError(f"input {name}: cannot start: {type(error).__name__}: {error}") from error

    def _start(self, config: InputConfig, item: BaseInput) -> None:
        assert self._sink is not None
        item.watch(self._listener)
        item.start(self._sink_of(config))

    def _note(self, configs: Iterable[InputConfig], items: dict[str, BaseInput]) -> None:
        self._configs = {config.id: config for config in configs}
        self._marks = {name: mark(config) for name, config in self._configs.items()}
        self.items = {name: items[name] for name in self._configs}
        self._mute = {key: fault for key, fault in self._mute.items() if key[0] in self.items}

    def _sink_of(self, config: InputConfig) -> Sink:
        """Returns what an input gives its frames to: the sink, behind a check of signatures where the input has keys. What the check
        remembers outlives the input."""
        assert self._sink is not None
        if config.signing is None:
            return self._sink
        sink, signing, signed = self._signed.get(config.id, (None, None, None))
        if signed is None or sink is not self._sink or signing != config.signing:
            signed = SignedSink(self._sink, config.signing)
            self._signed[config.id] = self._sink, config.signing, signed
        return signed

    def handed(self, names: Collection[str] | None = None) -> Handed:
        """Returns duplicates of the sockets that inputs, all or those of these ids, listen on."""
        return Handed.of(
            (name, asked, sock)
            for name, item in self.items.items()
            if names is None or name in names
            for asked, sock in _listening(name, item)
        )

    def stop(self, heirs: Collection[str] = ()) -> None:
        """Stops all inputs. `heirs`: ids of those whose sockets others go on with."""
        for name, item in self._streams_first(self.items):
            item.handed_over = name in heirs
            _stop(name, item)

    def _streams_first(self, items: Mapping[str, BaseInput]) -> list[tuple[str, BaseInput]]:
        """Some of the inputs in the order in which they stop: those with datagram sockets last, since what comes to these waits the
        shortest."""
        sockets = self.sockets()
        return sorted(items.items(), key=lambda item: bool(sockets.get(item[0])))

    def addresses(self) -> list[str]:
        return [
            address
            for found in self._ask("addresses", lambda item: _texts(item.addresses)).values()
            for address in found
        ]

    def warnings(self) -> list[str]:
        return [text for found in self._ask("warnings", lambda item: _texts(item.warnings)).values() for text in found]

    def stats(self) -> dict[str, dict[str, int]]:
        return self._ask("stats()", lambda item: _counts(item.stats()))

    def sockets(self) -> dict[str, list[dict[str, Any]]]:
        return self._ask("sockets()", lambda item: [_socket(one) for one in item.sockets()])

    def partitions(self) -> dict[str, dict[str, dict[str, int]]]:
        """Of those that have some."""
        return {
            name: found
            for name, found in self._ask("partitions()", lambda item: _partitions(item.partitions())).items()
            if found
        }

    def health(self) -> list[str]:
        """What is wrong with inputs."""
        found = self._ask("health()", lambda item: item.health())
        wrong = [f"input {name}: cannot be started again: {why}" for name, why in tuple(self._ended.items())]
        wrong += [f"input {name}: {text}" for name, text in found.items() if text]
        return [*wrong, *(f"input {name}: {hook} failed: {why}" for (name, hook), why in tuple(self._mute.items()))]

    def _ask(self, hook: str, ask: Callable[[BaseInput], T]) -> dict[str, T]:
        """What each input says; one that raises, or says what JSON cannot hold, is left out, and the health tells it."""
        found: dict[str, T] = {}
        for name, item in self.items.items():
            try:
                said = ask(item)
                msgspec.json.encode(said)
            except Exception as error:
                fault = f"{type(error).__name__}: {error}"
                if self._mute.get((name, hook)) != fault:
                    log.warning("input %s: %s failed: %s", name, hook, fault, exc_info=error)
                self._mute[name, hook] = fault
            else:
                found[name] = said
                self._mute.pop((name, hook), None)
        return found

    def replace(self, configs: Sequence[InputConfig]) -> list[str]:
        """Goes over to other settings. An input that has not changed runs on; a new or changed one starts, on the sockets of the one that
        it replaces; then those that are wanted no more take what their sockets hold, and stop. Returns what was changed, for the log.
        Raises what an input raises, ConfigError and OSError above all; then everything is as it was before, but for inputs that could
        not be started again, which the health tells."""
        same = {config.id for config in configs if config.id in self.items and mark(config) == self._marks[config.id]}
        same -= self._ended.keys()
        leaving = {name: item for name, item in self.items.items() if name not in same and name not in self._ended}
        fresh = {config.id: config for config in configs if config.id not in same}
        handed = self.handed(leaving)
        started: dict[str, BaseInput] = {}
        ended: list[str] = []
        try:
            waiting = self._beside(fresh, leaving, handed, started)
            heirs = handed.heirs(handed.taken)
            for name in waiting:  # what they need, the inputs before them hold
                ended.append(name)
                _stop(name, leaving[name])
                handed.close(name)
                started[name] = self._begin(fresh[name], handed)
        except Exception:
            for name, item in started.items():
                _stop(name, item)
            handed.close()
            for name in ended:
                self._begin_again(name)
            raise
        handed.quiet(handed.taken)
        handed.close()
        for item in started.values():
            item.handed_over = False
        for name, item in self._streams_first(leaving):
            if name not in ended:
                item.handed_over = name in heirs
                _stop(name, item)
        self._ended = {}
        before = set(self.items)
        self._note(configs, {**self.items, **started})
        return [
            *(f"input {name} ended" for name in sorted(before - set(self.items))),
            *(f"input {name} {'changed' if name in before else 'begins'}" for name in fresh),
        ]

    def _beside(
        self,
        fresh: Mapping[str, InputConfig],
        leaving: Mapping[str, BaseInput],
        handed: Handed,
        started: dict[str, BaseInput],
    ) -> list[str]:
        """Starts new inputs beside those that leave. Returns the ids of those that cannot run while the one before them does."""
        waiting = []
        for name, config in fresh.items():
            try:
                started[name] = self._begin(config, handed)
            except (OSError, ConfigError):
                if name not in leaving or not _in_the_way(name, leaving[name], config):
                    raise
                waiting.append(name)
        return waiting

    def _begin(self, config: InputConfig, handed: Handed) -> BaseInput:
        item = adapt_input(config.component.build())
        before = handed.taken
        try:
            handed.heir = config.id
            item.bind_sockets(handed)
            item.handed_over = handed.taken != before  # until the change is done, sockets that it shares outlive it
            self._start(config, item)
        except Exception:
            _stop(config.id, item)
            raise
        return item

    def _begin_again(self, name: str) -> None:
        """Starts an input by the settings that it had."""
        try:
            self.items[name] = self._begin(self._configs[name], Handed())
        except Exception as error:  # noqa: BLE001 - told, in the log and the health, beside what it was that failed before
            log.error("input %s: cannot be started again: %s", name, error)
            self._ended[name] = str(error)
        else:
            self._ended.pop(name, None)


def mark(config: InputConfig) -> object:
    """Returns what is equal for two inputs with the same settings: name, options, keys, and the files that the options name, as they are
    now."""
    options = config.component.options
    return (
        config.component.name,
        options,
        config.signing,
        {key: _stamp(value) for key, value in options.items() if key.endswith(_FILE)},
    )


def _texts(said: Any) -> list[str]:
    """What an input says in texts; raises TypeError when it is no list."""
    return [said] if isinstance(said, str) else [str(text) for text in said]


def _counts(said: Any) -> dict[str, int]:
    """What an input counts; raises TypeError when these are no numbers by name."""
    if not isinstance(said, Mapping) or not all(isinstance(value, int | float) for value in said.values()):
        raise TypeError(f"wants numbers by name, not {said!r:.100}")
    return {str(name): value for name, value in said.items()}


def _socket(said: Any) -> dict[str, Any]:
    """What an input says of a socket; raises TypeError when that has no address, or no number of drops."""
    if not isinstance(said, Mapping) or "address" not in said or not isinstance(said.get("kernel_drops"), int | float):
        raise TypeError(f"wants address and kernel_drops of each socket, not {said!r:.100}")
    return dict(said)


def _partitions(said: Any) -> dict[str, dict[str, int]]:
    """What an input says of its partitions; raises TypeError when these are no offset and lag by name."""
    if not isinstance(said, Mapping):
        raise TypeError(f"wants offset and lag by partition, not {said!r:.100}")
    found = {str(name): _counts(place) for name, place in said.items()}
    if any(not place.keys() >= {"offset", "lag"} for place in found.values()):
        raise TypeError(f"wants offset and lag of each partition, not {said!r:.100}")
    return found


def _listening(name: str, item: BaseInput) -> list[tuple[str, socket.socket]]:
    """What an input listens on; nothing of one that cannot say it: its sockets are closed and bound anew."""
    try:
        found = [(asked, sock) for asked, sock in item.listening()]
        if not all(isinstance(sock, socket.socket) for _, sock in found):
            raise TypeError(f"wants sockets, not {found!r:.100}")
    except Exception:
        log.exception("input %s: listening() failed", name)
        return []
    return found


def _stop(name: str, item: BaseInput) -> None:
    """Stops an input; one that raises keeps nothing else from being stopped."""
    try:
        item.stop()
    except Exception:
        log.exception("input %s: stop() failed", name)


def _in_the_way(name: str, item: BaseInput, config: InputConfig) -> bool:
    """Whether an input may keep the one with the new settings from starting: it holds the port, or what it holds cannot be handed
    over."""
    listening = _listening(name, item)
    ports = {sock.getsockname()[1] for _, sock in listening if sock.family in {socket.AF_INET, socket.AF_INET6}}
    return not listening or config.component.options.get("port") in ports


def _stamp(path: Any) -> object:
    try:
        found = os.stat(path)  # noqa: PTH116 - a text or a path
    except (OSError, TypeError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
