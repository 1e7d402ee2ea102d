"""Files of a day replaced by others, so that each of metlog's own queries sees the events of the old or of the new ones, never both.

While that goes on, the day's folder has a file `.replacing.json`, which readers look at after they have listed the folder. Steps, each
durable before the next:

1. The new files are written under hidden names (`.new-….parquet`), which other engines pass over.
2. `.replacing.json` with the stage `hidden`: from here on metlog's queries read the hidden files in place of the old ones.
3. Every query that began before has ended (`metlog.lake.leases`).
4. For other engines: each new file is linked under the name of the last file that it replaces, by one rename, and the others are unlinked.
5. `.replacing.json` with the stage `named`: metlog's queries read the files by these names.
6. Every query that began before has ended; the hidden names and `.replacing.json` are removed.

A process that dies in between leaves a state from which `finish` goes on; before step 2 nothing has happened but files that `finish`
removes. Between the rename and the last unlink of step 4 an engine that lists the folder finds events twice; that takes as long as a
few calls of the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct

from metlog.journal import failpoints
from metlog.journal.folder import Folder
from metlog.lake.leases import wait_for_readers

__all__ = ["HIDDEN", "Manifest", "ReadersHold", "Replacement", "finish", "load", "readable", "replace"]

MANIFEST: Final = ".replacing.json"
HIDDEN: Final = ".new-"
"""How the hidden name of a new file begins."""


class Replacement(Struct):
    """Some files of one day, and the file that has their events from now on."""

    gone: list[str]
    """Names of the files that are replaced, in the order of their names."""
    new: str = ""
    """Hidden name of the new file; empty when none of the events is kept."""

    @property
    def target(self) -> str:
        """The name that the new file gets: that of the last one it replaces."""
        return self.gone[-1]


class Manifest(Struct):
    """The content of `.replacing.json`."""

    stage: Literal["hidden", "named"]
    replacements: list[Replacement]


class ReadersHold(Exception):
    """A query that began before a step has not ended in time. What was done stays as it is, and `finish` goes on from there."""


def readable(names: Collection[str], manifest: Manifest | None) -> set[str]:
    """Returns the names of a day's files that together have each event once, out of those that were listed. The manifest must have been
    read after the folder was listed."""
    found = {name for name in names if not name.startswith(".")}
    if manifest is None:
        return found
    for item in manifest.replacements:
        if manifest.stage == "hidden":
            found.difference_update(item.gone)
            if item.new:
                found.add(item.new)
        else:
            found.difference_update(name for name in item.gone if not item.new or name != item.target)
    return found


def load(folder: Folder) -> Manifest | None:
    """Returns the manifest of a day's folder; None when nothing is being replaced there."""
    try:
        return msgspec.json.decode(folder.read(MANIFEST), type=Manifest)
    except FileNotFoundError:
        return None


def replace(events: Folder, day: Folder, replacements: Sequence[Replacement], *, patience: float) -> None:
    """Publishes files that stand under their hidden names, and ends when the old ones are gone.

    `patience` is how many seconds a step waits for queries that run. Raises `ReadersHold`; then `finish` does the rest, later.
    """
    if load(day) is not None:
        raise RuntimeError(f"{day.path}: a replacement is under way; call finish first")
    day.sync()
    failpoints.point("replace.written")
    day.replace(MANIFEST, msgspec.json.encode(Manifest("hidden", list(replacements))))
    failpoints.point("replace.hidden")
    finish(events, day, patience=patience)


def finish(events: Folder, day: Folder, *, patience: float) -> bool:
    """Goes on with what another process began in a day's folder, and removes what one left that died before it began. Returns whether
    there was a replacement to finish. Raises `ReadersHold`."""
    manifest = load(day)
    if manifest is None:
        for entry in list(day.regular(".parquet")):
            if entry.name.startswith(HIDDEN):
                day.unlink(entry.name, missing_ok=True)
        day.tidy(MANIFEST)
        return False
    if manifest.stage == "hidden":
        _wait(events, patience)
        _rename(day, manifest.replacements)
        failpoints.point("replace.renamed")
        day.replace(MANIFEST, msgspec.json.encode(Manifest("named", manifest.replacements)))
        failpoints.point("replace.named")
    _wait(events, patience)
    for item in manifest.replacements:
        if item.new:
            day.unlink(item.new, missing_ok=True)
    failpoints.point("replace.unhidden")
    day.unlink(MANIFEST)
    day.sync()
    failpoints.point("replace.done")
    return True


def _rename(day: Folder, replacements: Sequence[Replacement]) -> None:
    for item in replacements:
        if item.new:
            linked = f"{HIDDEN}link-{item.target}"  # a hidden name, so that `finish` removes what a crash leaves
            day.unlink(linked, missing_ok=True)
            os.link(item.new, linked, src_dir_fd=day.fd, dst_dir_fd=day.fd, follow_symlinks=False)
            day.rename(linked, item.target)
            day.unlink(
                linked, missing_ok=True
            )  # rename leaves it where the target is the same file already, after a crash
            failpoints.point("replace.target")
        for name in item.gone:
            if not item.new or name != item.target:
                day.unlink(name, missing_ok=True)
                failpoints.point("replace.unlink")
    day.sync()


def _wait(events: Folder, patience: float) -> None:
    if not wait_for_readers(events, patience):
        raise ReadersHold(
            f"{events.path}: a query has been running for more than {patience:g} s; the rest is done the next time"
        )
