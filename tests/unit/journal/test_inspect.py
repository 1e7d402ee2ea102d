"""A journal that is looked at while its listener writes and hands on."""

from __future__ import annotations

from pathlib import Path

from metlog.journal.folder import Folder
from metlog.journal.inspect import cursors, look, strangers
from metlog.journal.segment import ACTIVE, END, SEALED, SegmentName


class Leaving(Folder):
    """Lists what has gone since."""

    gone: tuple[str, ...] = ()

    def names(self) -> list[str]:
        names, self.gone = sorted([*super().names(), *self.gone]), ()
        return names

    def sub(self, name: str, *, create: bool = False) -> Folder:
        made = super().sub(name, create=create)
        found = Leaving(made.fd, made.path)
        found.gone = ("gone.cursor", f"{SegmentName(4, 'run')}.bad") if name != "journal" else ()
        return found


def test_what_goes_meanwhile_is_neither_damaged_nor_an_error(tmp_path: Path) -> None:
    for folder in ("cursors", "quarantine"):
        (tmp_path / folder).mkdir()
    (tmp_path / "quarantine" / f"{SegmentName(5, 'run')}.bad").write_bytes(b"12345")
    (tmp_path / "cursors" / "torn.cursor").write_bytes(b"half a cur")
    (tmp_path / "cursors" / "link.cursor").symlink_to("torn.cursor")
    names = (
        f"{SegmentName(1, 'run')}{SEALED}",
        f"{SegmentName(2, 'run')}{END}",
        f"{SegmentName(3, 'run')}{ACTIVE}",
        ".x.tmp",
        "strange",
    )
    with Leaving.root(tmp_path) as folder:
        assert isinstance(folder, Leaving)
        folder.gone = names
        assert strangers(folder, running=True) == ["cursors/link.cursor is damaged", "cursors/torn.cursor is damaged"]
        assert [output for output, _ in cursors(folder)] == ["link", "torn"]
        state = look(folder, "main", folder)
        assert (state.quarantined, state.quarantined_bytes) == (1, 5)
