"""The line editor of `metlog sql`: statements up to `;`, commands that begin with a backslash, a history of its own."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from metlog.cli.common import UsageError
from metlog.cli.engine import working
from metlog.cli.output import Format, print_table
from metlog.cli.terminal import legible
from metlog.cli.words import SqlWords
from metlog.errors import MetlogError
from metlog.lake.cancel import Cancel
from metlog.lake.export import write
from metlog.lake.result import Stream
from metlog.lake.values import Column

if TYPE_CHECKING:
    from metlog.lake.interface import Engine, Result

__all__ = ["Shell", "history_file", "statements"]

_ROWS: Final = 1000
_INSISTS: Final = 3
"""Times of Ctrl-C within one query that end the process."""
_HISTORY: Final = 2000
"""Lines of the history that are kept."""
_FORMATS: Final = tuple(how for how in Format if how is not Format.parquet)
_HELP: Final = """\
  SELECT …;            runs when its last line ends with ;
  \\d                   the views            \\d events    columns of a view
  \\df [BEGINNING]      functions            \\fields      members of `fields` in the latest events
  \\x                   one block a row (vertical), and back
  \\format [NAME]       table, vertical, json, ndjson, csv, markdown
  \\timing              how long each query took, or not
  \\r                   forgets the lines so far
  \\q                   ends, as Ctrl-D does
  Ctrl-C ends a running query, or forgets the line. Tab completes views, columns, functions, keywords, and fields behind ->>'"""


def history_file() -> Path:
    """Where the history lies: `metlog/sql_history` in the folder of XDG_STATE_HOME, `~/.local/state` if that is not set."""
    folder = os.environ.get("XDG_STATE_HOME")
    return Path(
        folder if folder and Path(folder).is_absolute() else Path.home() / ".local" / "state", "metlog", "sql_history"
    )


_TOKEN: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*(?=\n)|/\*.*?\*/|;|'.*|".*|--.*|/\*.*|[^'"/;-]+|.""", re.DOTALL
)
"""Texts, names, comments and `;`; an open one of them goes on to the end."""


def statements(text: str) -> tuple[list[str], str]:
    """The statements that end with a `;` outside of texts, names and comments, without it, and what comes behind the last one.

    Comments and spaces alone are no statement.
    """
    found, parts, says = [], [""], False
    for part in _TOKEN.findall(text):
        if part == ";":
            if says:
                found.append("".join(parts).strip())
            parts, says = [], False
        else:
            parts.append(part)
            says = says or not (
                part.isspace() or part.startswith("--") or (part.startswith("/*") and part.endswith("*/"))
            )
    return found, "".join(parts).lstrip() if says else ""


def _taken(lines: list[str], line: str) -> list[str]:
    """The statements that this line ends; `lines` has the one that has begun."""
    if line.strip() or lines:
        lines.append(line)
    if lines[1:] and ";" not in line and "*/" not in line:
        return []
    whole, rest = statements("\n".join(lines))
    lines[:] = [rest] if rest else []
    return whole


class Shell:
    """Reads statements and runs them on an engine, one at a time; results go to standard output, the rest to standard error."""

    def __init__(self, engine: Engine, how: Format = Format.table) -> None:
        if how not in _FORMATS:
            raise UsageError(f"--format {how.value}: wants {', '.join(known.value for known in _FORMATS)}")
        self._engine = engine
        self._format: Format = how
        self._before: Format = Format.table
        self._timing = True
        self._words = SqlWords()
        self._asked_fields = False

    def run(self, source: TextIO) -> bool:
        """Until the end of the input. False when a statement failed and the input is no terminal, which ends it there."""
        if not source.isatty():
            return self._script(source)
        with self._line_editor() as read:
            lines: list[str] = []
            while True:
                try:
                    line = read("metlog> " if not lines else "     -> ")
                except EOFError:
                    print()
                    return True
                except KeyboardInterrupt:  # the line is forgotten
                    print("^C")
                    lines.clear()
                    continue
                if not lines and line.lstrip().startswith("\\"):
                    if self._command(line.strip()) == "end":
                        return True
                    continue
                if line.strip() == "\\r":
                    lines.clear()
                    continue
                for statement in _taken(lines, line):
                    self._ask(statement)

    def _script(self, source: TextIO) -> bool:
        lines: list[str] = []
        for line in source:
            if not lines and line.lstrip().startswith("\\"):
                outcome = self._command(line.strip())
                if outcome != "done":
                    return outcome == "end"
            elif line.strip() == "\\r":
                lines.clear()
            elif not all(self._ask(statement) for statement in _taken(lines, line.rstrip("\n"))):
                return False
        return not lines or self._ask("\n".join(lines))

    def _ask(self, sql: str) -> bool:
        cancel = Cancel()
        try:
            result = self._in_thread(lambda: self._engine.query(sql, limit=_ROWS, cancel=cancel), cancel)
            self._show(result)
        except MetlogError as error:
            print(legible(f"{getattr(error, 'kind', 'error')}: {error}"), file=sys.stderr)
            return False
        return True

    def _in_thread(self, work: Callable[[], Result], cancel: Cancel) -> Result:
        """Runs it in a thread, so that Ctrl-C reaches this one; it then ends the query, and waits until the engine has let go."""
        found: list[Any] = []
        ended = threading.Event()

        def run() -> None:
            try:
                found.append(work())
            except BaseException as error:  # noqa: BLE001 - raised again below
                found.append(error)
            finally:
                ended.set()

        threading.Thread(target=run, name="metlog-sql", daemon=True).start()
        asked = 0
        with working(self._engine.name, cancel):
            while not ended.is_set():
                try:
                    while not ended.wait(0.5):
                        pass
                except KeyboardInterrupt:
                    cancel.cancel()
                    asked += 1
                    if asked == _INSISTS:
                        self._leave()
                    if asked > 1:
                        print("the query does not let go yet; Ctrl-C once more ends metlog sql", file=sys.stderr)
        if isinstance(found[0], BaseException):
            raise found[0]
        result: Result = found[0]
        return result

    def _leave(self) -> None:
        """Ends the process: some functions of DuckDB cannot be interrupted."""
        from metlog.lake.query import Lake

        if isinstance(self._engine, Lake):
            self._engine.abandon()
        os._exit(130)

    def _show(self, result: Result) -> None:
        said = f"{len(result.rows):,} row{'s' * (len(result.rows) != 1)}"
        if self._timing:
            said += f", {result.ms:.0f} ms"
        if result.truncated:
            said = f"the first {said}; there are more: add LIMIT, or use metlog query … --output FILE"
        if self._format is Format.table:
            print_table(result.columns, result.rows, caption=said)
            return
        sys.stdout.flush()
        stream = Stream(result.columns, iter(result.arrow.to_batches()), result.arrow.schema)
        write(stream, self._format.value, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        print(said, file=sys.stderr)

    def _command(self, line: str) -> Literal["done", "end", "failed"]:
        """One that begins with a backslash; what has become of it: `end` ends the shell."""
        name, _, rest = line.rstrip(";").partition(" ")
        rest = rest.strip()
        if name in {"\\q", "\\quit", "\\exit"}:
            return "end"
        known: dict[str, Callable[[str], bool | None]] = {
            "\\d": self._describe, "\\df": self._functions, "\\fields": self._show_fields, "\\x": self._expanded,
            "\\format": self._set_format,
            "\\timing": self._set_timing,
            "\\r": lambda _: None, "\\?": lambda _: print(_HELP), "\\h": lambda _: print(_HELP),
        }  # fmt: skip
        if name not in known:
            print(legible(f"{name}: no such command; \\? lists them"), file=sys.stderr)
            return "failed"
        return "failed" if known[name](rest) is False else "done"

    def _describe(self, view: str) -> bool:
        from metlog.lake.sql.vocabulary import VIEW_COLUMNS

        if not view:
            rows = [(name, ", ".join(column for column, _ in columns)) for name, columns in VIEW_COLUMNS.items()]
            print_table([Column("view", "VARCHAR"), Column("columns", "VARCHAR")], rows)
        elif view in VIEW_COLUMNS:
            print_table([Column("column", "VARCHAR"), Column("type", "VARCHAR")], VIEW_COLUMNS[view])
        else:
            print(legible(f"\\d {view}: no such view; there is {', '.join(VIEW_COLUMNS)}"), file=sys.stderr)
            return False
        return True

    def _functions(self, beginning: str) -> None:
        from metlog.lake.sql.vocabulary import FUNCTIONS

        print(" ".join(name for name in FUNCTIONS if name.startswith(beginning.lower())))

    def _show_fields(self, _: str) -> bool:
        from metlog.lake.sql.vocabulary import fields

        try:
            found = fields(self._engine)
        except MetlogError as error:
            print(legible(f"\\fields: {error}"), file=sys.stderr)
            return False
        rows = [(field.name, field.type, f"{field.share:.1%}") for field in found]
        print_table([Column("field", "VARCHAR"), Column("type", "VARCHAR"), Column("events", "VARCHAR")], rows)
        return True

    def _expanded(self, _: str) -> None:
        if self._format is Format.vertical:
            self._format = self._before
        else:
            self._before, self._format = self._format, Format.vertical
        print(f"format: {self._format.value}")

    def _set_format(self, name: str) -> bool:
        if name in {how.value for how in _FORMATS}:
            self._format = Format(name)
        elif name:
            print(legible(f"\\format {name}: wants {', '.join(how.value for how in _FORMATS)}"), file=sys.stderr)
            return False
        print(f"format: {self._format.value}")
        return True

    def _set_timing(self, _: str) -> None:
        self._timing = not self._timing
        print(f"timing: {'on' if self._timing else 'off'}")

    def _complete(self, before: str) -> list[str]:
        if before.lstrip().startswith("\\"):
            words = ["\\d", "\\df", "\\fields", "\\x", "\\format", "\\timing", "\\r", "\\q", "\\?"]
            return [word for word in words if word.startswith(before.strip())]
        if not self._asked_fields and "->" in before:
            self._asked_fields = True
            from metlog.lake.sql.vocabulary import fields

            with contextlib.suppress(MetlogError):  # completion without fields, then
                self._words.fields = sorted(field.name for field in fields(self._engine))
        return self._words.candidates(before)

    @contextlib.contextmanager
    def _line_editor(self) -> Iterator[Callable[[str], str]]:
        """`input` with a history in a file that only its owner reads, and completion; plain where Python has no readline."""
        print("SQL over the views events, arrivals, delivery and files. \\? for help, \\q or Ctrl-D to end.")
        # The guard of standard output is no terminal to readline, which writes prompts itself; they hold nothing from outside.
        guarded, sys.stdout = sys.stdout, sys.__stdout__ or sys.stdout
        try:
            import readline
        except ImportError:
            try:
                yield input
            finally:
                sys.stdout = guarded
            return
        path = history_file()
        readline.set_history_length(_HISTORY)
        readline.set_completer_delims(" \t\n,()=<>+*/|;")
        readline.parse_and_bind("tab: complete")
        found: list[str] = []

        def completer(word: str, state: int) -> str | None:
            if state == 0:
                before = readline.get_line_buffer()[: readline.get_endidx()]
                head = (
                    word[: len(word) - len(re.split(r"->>?|fields\.", word)[-1])]
                    if re.search(r"->|fields\.", word)
                    else ""
                )
                found[:] = [head + text for text in self._complete(before)]
            return found[state] if state < len(found) else None

        readline.set_completer(completer)
        with contextlib.suppress(OSError):  # there is none yet
            readline.read_history_file(path)

        def read(prompt: str) -> str:
            sys.stdout = sys.__stdout__ or guarded
            try:
                return input(prompt)
            finally:
                sys.stdout = guarded

        try:
            yield read
        finally:
            sys.stdout = guarded
            readline.set_completer(None)
            _save_history(readline.write_history_file, path)


def _save_history(write_to: Callable[[Any], None], path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        os.fchmod(descriptor, 0o600)  # also of one that was there with other rights
        os.close(descriptor)
        write_to(path)
        path.chmod(0o600)
    except OSError as error:
        print(f"metlog sql: the history is not kept: {path}: {error.strerror}", file=sys.stderr)
