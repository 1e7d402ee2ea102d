"""What an application holds: `MetlogClient`, and the default one behind `metlog.log`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from metlog.core.adapt import original
from metlog.core.coerce import fields_of, joined, known_tokens, severity_of, tokens_of, tokens_tuple, type_of
from metlog.core.context import FIXED, current, merged
from metlog.core.direct import dealt_with, log_screened
from metlog.core.measuring import Measuring
from metlog.core.pipeline import Pipeline, Stats
from metlog.core.state import ClientState
from metlog.core.timeouts import deadline_in
from metlog.core.unconfigured import Unconfigured, wants_console
from metlog.errors import MetlogError
from metlog.event import ONE
from metlog.tracebacks import exception_fields
from metlog.values import MARK, formatted, noted

if TYPE_CHECKING:
    from metlog.config import Plan

__all__ = ["MetlogClient", "default", "get_client", "state_of"]


class MetlogClient(Measuring):
    """Logs events. A call never raises into the application and never waits for the network.

    Made by `metlog.configure()`, `metlog.get_client(name)`, `MetlogClient.from_config(settings)` or `bind()`.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Methods that were added."""

    def __init__(self, name: str | None = None) -> None:
        self._state = ClientState(name, None if name is None else _console)
        self._bound = {}
        self._kept = None
        self._plain = self._has_plain_log()
        self._state.register(self)

    def _has_plain_log(self) -> bool:
        return type(self).log is MetlogClient.log

    def log(
        self,
        tokens: tuple[str, ...] | list[str] | str,
        msg: str = "",
        *,
        severity: int = 6,
        fields: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Logs an event. The first token is its type; `fields`, and other keywords, are anything else that JSON can say.

        `severity` is 0 (emergency) to 7 (debug), or its name ("error").
        """
        # Fast path: if every field value is an immutable scalar, store an unencoded record; the frame encodes a batch at
        # once. Otherwise (containers, non-finite or huge numbers, an encoder without records) encode now, in Pipeline.put().
        # Where filters have a say: log_screened.
        seq, stored = 0, False
        if more:
            fields = more if fields is None else joined(more, fields)
        try:
            pipeline = self._state.pipeline
            severity_max, make, origin, next_seq, append, buffer, base, usual, sift = pipeline.fast_path
            if severity is not usual and (type(severity) is not int or not 0 <= severity <= severity_max):
                level = pipeline.admit_severity(severity)
                if level < 0:
                    if pipeline is not self._state.pipeline:  # closed meanwhile: another one is in its place
                        self.log(tokens, msg, severity=severity, fields=fields)
                    return
                severity = level
            try:
                known = _known[tokens]
            except (KeyError, TypeError):
                known = tokens_tuple(tokens)
            if make is None:
                weight = ONE if sift is None else sift(known, severity, msg)
                if weight:
                    log_screened(self, pipeline, known, severity, msg, fields, weight)
                return
            context = _context()
            if context is None and not base and not self._bound:
                own = given = more if fields is more else fields.copy() if fields else {}
            else:
                kept = self._kept
                if context is not None or kept is None or kept[0] is not base:
                    kept = self._fields_before(base, context)
                _, _, before, fixed = kept
                own = {**before, **fields} if fields else before.copy()
                given = (fields or {}) if fixed else own  # what has to be looked at
            if type(msg) is str:
                for name, value in given.items():
                    if type(name) is not str:
                        break  # two names may become one
                    kind = type(value)
                    if kind is str:
                        continue
                    if kind is float:
                        if value - value:
                            break  # NaN or infinite (not 0): encode now
                    elif kind is int:
                        if value > 0x7FFFFFFFFFFFFFFF or value < -0x8000000000000000:
                            break  # may be beyond 64 bits
                    elif kind not in FIXED:
                        break  # mutable
                else:
                    seq = next_seq()
                    append(make(_now(UTC), known[0], known, severity, msg, own, seq, origin))
                    if seq >= buffer.flush_at_seq:
                        stored = True  # the buffer owns it: an error from here on loses nothing
                        buffer.flush_if_due(seq)
                    return
            pipeline.put(known[0], known, severity, msg, own)
        except BaseException as error:  # noqa: BLE001 - as in `log_direct`
            if not dealt_with(pipeline, error, seq, stored) and not self._log_coerced(tokens, msg, severity, fields):
                self._state.pipeline.lose(error)

    def _admitted(self, severity: Any) -> tuple[Pipeline | Unconfigured, int]:
        """Returns the pipeline and the severity that it admits; -1 when it refuses the event."""
        while True:
            pipeline = self._state.pipeline
            level = pipeline.admit_severity(severity)
            if level >= 0 or pipeline is self._state.pipeline:  # else it was closed meanwhile, as in log
                return pipeline, level

    def _log_coerced(
        self,
        tokens: Any,
        msg: Any,
        severity: Any,
        fields: Any,
        weight: Any = ONE,
        logger: Any = None,
        type: Any = None,
    ) -> bool:
        """Logs with arguments of the wrong type, coerced to the nearest valid ones. Returns False if that fails too.

        `type`: the explicit one of `metlog`; None: the first token.
        """
        try:
            told: list[str] = []
            pipeline, severity = self._admitted(severity_of(severity, told))
            if severity >= 0:
                tokens = tokens_of(tokens, told)
                kind = tokens[0] if type is None else type_of(type, told)
                own = merged(pipeline.fields, current.get(), self._bound, fields_of(fields, told))
                if told:
                    own[MARK] = noted(own, told)
                pipeline.put(kind, tokens, severity, msg, own, weight, logger)
        except Exception:  # noqa: BLE001 - the first error is the one that is told
            return False
        return True

    def metlog(
        self,
        type: str,
        logger: str | None = None,
        severity: int | None = None,
        payload: str = "",
        fields: dict[str, Any] | None = None,
        *,
        tokens: tuple[str, ...] | None = None,
        weight: float = ONE,
        **more: Any,
    ) -> None:
        """Logs an event under an explicit type; `logger` and `severity` as configured (6) unless given. Other keywords: fields."""
        severity = 6 if severity is None else severity
        if more:
            fields = joined(more, fields)
        if logger is None and tokens is None and weight is ONE:
            self.log((type,), payload, severity=severity, fields=fields)
            return
        try:
            pipeline, severity = self._admitted(severity)
            if severity >= 0:
                own = merged(pipeline.fields, current.get(), self._bound, fields)
                known = tokens_tuple((type,) if tokens is None else tokens)
                kind = type if type.__class__ is str else tokens_tuple((type,))[0]
                pipeline.put(kind, known, severity, payload, own, weight, logger)
        except Exception as error:  # noqa: BLE001 - as in log
            given, explicit = ((type,), None) if tokens is None else (tokens, type)
            if not self._log_coerced(given, payload, severity, fields, weight, logger, explicit):
                self._state.pipeline.lose(error)

    def _oldstyle(self, severity: int, msg: object, args: tuple[Any, ...], fields: dict[str, Any]) -> None:
        pipeline = self._state.pipeline
        if severity > pipeline.severity_max and self._admitted(severity)[1] < 0:
            return
        notes: list[str] = []
        try:
            exc_info = fields.pop("exc_info", None)
            text, wrong = (msg, None) if type(msg) is str and not args else formatted(msg, args)
            if wrong:
                fields["metlog.format_error"] = wrong
                notes.append(f"payload: {wrong}")
            extra = fields.pop("fields", None)
            if extra is not None:
                fields.update(fields_of(extra, notes))
            if exc_info is not None and exc_info is not False:
                found = exception_fields(exc_info)
                fields.update(found)
                text = self._with_traceback(text, found.get("traceback", ""))
            if notes:
                fields[MARK] = noted(fields, notes)
            self.metlog("oldstyle", None, severity, text, fields or None)
        except Exception as error:  # noqa: BLE001 - as in log
            pipeline.lose(error)

    def _with_traceback(self, text: str, trace: str) -> str:
        """The payload of a call with an exception, which stands in the fields."""
        return text

    def debug(self, msg: object, /, *args: Any, **fields: Any) -> None:
        """Severity 7. %-arguments as in stdlib logging; `exc_info=True` adds the exception; other keywords: fields."""
        self._oldstyle(7, msg, args, fields)

    def info(self, msg: object, /, *args: Any, **fields: Any) -> None:
        """Severity 6; see `debug`."""
        self._oldstyle(6, msg, args, fields)

    def warn(self, msg: object, /, *args: Any, **fields: Any) -> None:
        """Severity 4; see `debug`."""
        self._oldstyle(4, msg, args, fields)

    warning = warn

    def error(self, msg: object, /, *args: Any, **fields: Any) -> None:
        """Severity 3; see `debug`."""
        self._oldstyle(3, msg, args, fields)

    def exception(self, msg: object, /, *args: Any, **fields: Any) -> None:
        """Severity 3, with the exception that is being handled: its type, message and traceback as fields."""
        fields.setdefault("exc_info", True)
        self._oldstyle(3, msg, args, fields)

    def critical(self, msg: object, /, *args: Any, **fields: Any) -> None:
        """Severity 2; see `debug`."""
        self._oldstyle(2, msg, args, fields)

    # ---- the client itself -------------------------------------------------------------------------------------------

    def bind(self, /, **fields: Any) -> MetlogClient:
        """A client that adds these fields to every event; any name is allowed. It follows a later `configure`."""
        bound: MetlogClient = object.__new__(type(self))
        if type(self) is not MetlogClient:  # a subclass may have attributes of its own
            bound.__dict__.update(self.__dict__)
        bound._state, bound._bound, bound._kept, bound._plain = (
            self._state,
            {**self._bound, **fields},
            None,
            self._plain,
        )
        self._state.register(bound)
        return bound

    def configure(self, settings: object = None, /, **more: Any) -> MetlogClient:
        """Checks the settings as a whole, opens what they name, and swaps it in without losing an event.

        `settings` is a dict, a URL, a component's name, or the path of a TOML or INI file; without arguments the
        environment (METLOG_CONFIG, METLOG_SENDER, …). Raises ConfigError, with every fault, and then changes nothing.
        """
        from metlog.config import gather, plan

        return self.install(plan(gather(settings, more)))

    def install(self, made: Plan) -> MetlogClient:
        """Builds a checked plan (`metlog.config.plan`) and swaps it in; ConfigError changes nothing."""
        self._state.install(made)
        return self

    @classmethod
    def from_config(cls, settings: object = None, /, **more: Any) -> MetlogClient:
        """A client of its own from what `configure` takes; the default client is not touched."""
        return cls().configure(settings, **more)

    def add_method(self, method: Callable[..., Any], override: bool = False) -> None:
        """Puts a function on the client under its own name; it gets the client first. MetlogError: name in use."""
        name = getattr(method, "__name__", "")
        if not name.isidentifier():
            raise MetlogError(f"add_method: {method!r} has no name that can be called; give it a __name__")
        if not override and (name in self._state.methods or hasattr(type(self), name)):
            raise MetlogError(f"add_method: the client has a method {name!r} already; override=True replaces it")
        self._state.add_method(name, method)

    def __reduce__(self) -> Any:
        if self._state.name is None:
            raise TypeError(
                "a MetlogClient of its own cannot be pickled; use metlog.get_client(name), in the other process too"
            )
        return _unpickle, (self._state.name, self._bound)

    @property
    def is_active(self) -> bool:
        """Whether events go anywhere: configured, and not closed."""
        return not self._state.pipeline.closed

    @property
    def sender(self) -> Any:
        """The sender that was built; None before `configure`."""
        return original(self._state.pipeline.sender)

    @property
    def branches(self) -> tuple[Pipeline, ...]:
        """The branches of a `tee`, each with its own sender, encoder, filters and `stats()`; else empty."""
        return self._state.pipeline.branches

    @property
    def encoder(self) -> Any:
        """The encoder that was built; None before `configure`."""
        return original(self._state.pipeline.encoder)

    @property
    def filters(self) -> tuple[Any, ...]:
        """The filters that were built, in order."""
        return tuple([original(item) for item in self._state.pipeline.filters])

    @property
    def statsd(self) -> Any:
        """The `statsd` package's client, or one with the same methods that does nothing (`statsd` false)."""
        state = self._state
        if state.statsd is None:
            from metlog.statsd.client import make

            state.statsd = make(False)
        return state.statsd

    def stats(self) -> Stats:
        """What became of the events since `configure`."""
        pipeline = self._state.pipeline
        pipeline.collect(monotonic())  # counters that were added up are events from here on
        return pipeline.stats()

    def flush(self, timeout: float | None = None) -> bool:
        """Sends everything logged so far; waits at most `timeout` seconds (None: 60). False: it was too short."""
        return self._state.pipeline.flush(deadline_in(60.0 if timeout is None else timeout))

    def close(self, timeout: float | None = None) -> None:
        """Sends the rest and the end of the stream within `timeout` seconds (None: `exit_timeout`); then closes `statsd`, within the
        `exit_timeout` of that."""
        self._state.close(timeout)

    def __enter__(self) -> MetlogClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _console() -> Plan | None:
    if not wants_console():
        return None
    from metlog.config import plan

    return plan({"sender": "console", "statsd": False})


_now: Final = datetime.now
_context: Final = current.get
_known: Final = known_tokens


default: Final = MetlogClient("")
_named: Final[dict[str, MetlogClient]] = {"": default}


def get_client(name: str = "") -> MetlogClient:
    """The client of that name, made at the first call; without a name the default one. Each is configured by itself."""
    return _named.setdefault(name, _named.get(name) or MetlogClient(name))


def state_of(client: MetlogClient) -> ClientState:
    """Returns what a client and those bound to it share: for metlog's own packages, not for applications."""
    return client._state


def _unpickle(name: str, bound: dict[str, Any]) -> MetlogClient:
    return get_client(name).bind(**bound) if bound else get_client(name)
