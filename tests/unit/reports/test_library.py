"""Where reports are found: the package, entry points, a configured folder, the data folder; a later one wins."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from metlog.errors import ConfigError
from metlog.reports import Library, Report, save


def toml(title: str) -> str:
    return f'title = "{title}"\nsql = "SELECT count(*) AS n FROM events"\n'


def test_a_report_in_the_data_folder_is_found_and_a_broken_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "mine.toml").write_text(toml("Mine"))
    (tmp_path / "reports" / "broken.toml").write_text('title = "B"\nsql = "DROP TABLE x"\n')
    (tmp_path / "reports" / "Not A Name.toml").write_text(toml("N"))
    (tmp_path / "reports" / "latin.toml").write_bytes(b'title = "\xe9"')
    library = Library(tmp_path)
    assert library["mine"].title == "Mine"
    assert library["mine"].origin.endswith("mine.toml")
    assert len(library) == 21
    for name in ("broken.toml", "Not A Name.toml", "latin"):
        assert any(name in line or "utf-8" in line for line in library.broken), library.broken
    assert len(library.broken) == 3


def test_a_configured_folder_is_looked_into_and_the_data_folder_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = tmp_path / "configured"
    configured.mkdir()
    (configured / "logins.toml").write_text(toml("Configured"))  # also over one of the package
    (configured / "both.toml").write_text(toml("Configured"))
    (tmp_path / "data" / "reports").mkdir(parents=True)
    (tmp_path / "data" / "reports" / "both.toml").write_text(toml("Data"))
    assert Library(folder=configured)["logins"].title == "Configured"
    monkeypatch.setenv("METLOG_REPORTS", str(configured))
    found = Library(tmp_path / "data")
    assert (found["logins"].title, found["both"].title) == ("Configured", "Data")
    monkeypatch.setenv("METLOG_REPORTS", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"^METLOG_REPORTS = '.*none': no such folder"):
        Library()


def test_a_wrong_name_gets_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="'login': no such report; did you mean 'logins'"):
        Library()["login"]
    with pytest.raises(ConfigError, match="'qqq': no such report; there is apdex, counters, delivery"):
        Library()["qqq"]


MODULE = '''
from pathlib import Path
from metlog.reports import Report

TEXT = """title = "%s"
sql = "SELECT count(*) AS n FROM events"
"""
OBJECT = Report.from_toml("another-name", TEXT % "An object")
PATH = Path(__file__).with_name("carts.toml")

def call():
    return OBJECT

def bad():
    raise RuntimeError("out of order")

NUMBER = 7
'''
POINTS = """[metlog.reports]
object = shop_reports:OBJECT
path = shop_reports:PATH
text = shop_reports:PATH.__str__
called = shop_reports:call
bad = shop_reports:bad
number = shop_reports:NUMBER
missing = shop_reports:NOWHERE
"Bad Name" = shop_reports:OBJECT
"""


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed a wheel into, as it does with anybody's."""
    folder = tmp_path_factory.mktemp("wheel")
    files = {
        "shop_reports.py": MODULE,
        "carts.toml": toml("Carts"),
        "shop_reports-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: shop-reports\nVersion: 1.2\n",
        "shop_reports-1.2.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "shop_reports-1.2.dist-info/entry_points.txt": POINTS,
    }
    record = [*(f"{name},," for name in files), "shop_reports-1.2.dist-info/RECORD,,"]
    wheel = folder / "shop_reports-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr("shop_reports-1.2.dist-info/RECORD", "\n".join(record) + "\n")
    site = folder / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-index", "--no-deps"]
    done = subprocess.run([*pip, "--target", str(site), str(wheel)], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return site


PROGRAM = """
from metlog.reports import Library
library = Library()
for name in ("object", "path", "text", "called"):
    report = library[name]
    print(name, report.name, report.title, "shop-reports 1.2" in report.origin)
print(len(library))
for line in library.broken:
    print("left out:", line)
"""


def run(*arguments: str, site: Path, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
    environment = {**kept, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(site / "cache"), **more}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, env=environment)


@pytest.mark.process
def test_reports_of_an_installed_distribution_are_found_and_its_faults_told(distribution: Path) -> None:
    done = run("-c", PROGRAM, site=distribution)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:5] == [
        "object object An object True", "path path Carts True", "text text Carts True", "called called An object True", "24",
    ]  # fmt: skip
    told = "\n".join(lines[5:])
    for said in ("RuntimeError: out of order", "neither a Report nor the path of one: 7", "NOWHERE", "'\"Bad Name\"'"):
        assert said in told
    assert told.count("shop-reports 1.2") == 4


@pytest.mark.process
def test_the_command_shows_a_report_of_an_installed_distribution(distribution: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "events").mkdir(parents=True)
    done = run("-m", "metlog", "report", "path", "--data", str(tmp_path / "data"), "--format", "csv", site=distribution)
    assert (done.returncode, done.stdout) == (0, "n\n0\n")
    assert "left out: shop-reports 1.2: report 'bad': RuntimeError" in done.stderr
    assert "path" in run("-m", "metlog", "plugins", site=distribution).stdout


@pytest.mark.process
def test_the_command_shows_a_report_of_a_configured_folder(tmp_path: Path) -> None:
    (tmp_path / "data" / "events").mkdir(parents=True)
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "mine.toml").write_text(toml("Mine"))
    arguments = ("-m", "metlog", "report", "mine", "--data", str(tmp_path / "data"), "--format", "csv")
    done = run(*arguments, "--reports", str(tmp_path / "team"), site=tmp_path)
    assert (done.returncode, done.stdout) == (0, "n\n0\n"), done.stderr
    done = run(*arguments, site=tmp_path, METLOG_REPORTS=str(tmp_path / "team"))
    assert (done.returncode, done.stdout) == (0, "n\n0\n"), done.stderr
    done = run(*arguments, "--reports", str(tmp_path / "none"), site=tmp_path)
    assert done.returncode == 2
    assert "none': no such folder" in done.stderr
    assert run(*arguments, site=tmp_path).returncode == 2


def test_a_saved_report_is_what_was_saved(tmp_path: Path) -> None:
    settings = {
        "title": 'Quotes " and \\ and \x7f', "sql": "SELECT $n AS n FROM events", "parameters": {"n": {"type": "integer", "default": 3}},
        "chart": {"kind": "ranked", "x": "n", "y": ["n"]},
    }  # fmt: skip
    path = save(tmp_path, "mine", settings)
    assert path == tmp_path / "reports" / "mine.toml"
    found = Library(tmp_path)["mine"]
    assert (found.title, found.parameters["n"].default) == (settings["title"], 3)
    with pytest.raises(FileExistsError):
        save(tmp_path, "mine", settings)
    save(tmp_path, "mine", {**settings, "title": "Again"}, replace=True)
    assert Library(tmp_path)["mine"].title == "Again"
    for name in ("../evil", "a/b", "", "A", "x" * 65, ".hidden"):
        with pytest.raises(ConfigError, match="a report's name is lower-case letters"):
            save(tmp_path, name, settings)
    with pytest.raises(ConfigError, match="sql"):
        save(tmp_path, "worse", {**settings, "sql": "DROP TABLE events"})
    assert [each.name for each in (tmp_path / "reports").iterdir()] == ["mine.toml"]


def test_reports_are_listed_by_the_group_that_their_file_names(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    for name, group in (("a", "Billing"), ("b", "Users"), ("c", ""), ("d", "Carts")):
        (tmp_path / "reports" / f"{name}.toml").write_text(f'group = "{group}"\n{toml(name)}')
    groups = {heading: [report.name for report in reports] for heading, reports in Library(tmp_path).grouped()}
    assert [*groups] == ["Users", "Requests", "Errors", "Metrics", "Events", "Delivery", "Billing", "Carts", "Others"]
    assert groups["Users"] == ["b", "funnel", "logins", "new-users", "retention", "unique-users"]
    assert (groups["Billing"], groups["Others"]) == (["a"], ["c"])
    assert "Others" not in dict(Library().grouped()), "each built-in report names its group"


@pytest.mark.parametrize("group", ["x" * 41, " Users", "a\nb"])
def test_a_group_is_one_line(group: str) -> None:
    with pytest.raises(ConfigError, match="group"):
        Report.from_toml("mine", f"group = {json.dumps(group)}\n{toml('Mine')}")


def test_a_report_is_a_value() -> None:
    text = toml("T")
    assert Report.from_toml("a", text) == Report.from_toml("a", text)


@pytest.mark.parametrize("latest", ["nothing", "by"])
def test_a_time_is_never_after_another_that_is_one(tmp_path: Path, latest: str) -> None:
    text = (
        'title = "x"\nsql = "SELECT 1 AS a WHERE $known < $until AND $by = $by"\n[parameters.by]\ntype = "bucket"\ndefault = "day"\n'
        '[parameters.known]\ntype = "time"\ndefault = "1d"\nlatest = "{}"\n'
    )
    report = Report.from_toml("x", text.format("since"))
    values = report.values({"since": "2026-03-01", "until": "2026-03-02"})
    assert values["known"] == values["since"]
    assert (
        report.values({"since": "2026-03-01", "until": "2026-03-02", "known": "2026-02-01"})["known"] < values["since"]
    )
    with pytest.raises(ConfigError, match=f"parameters.known: latest = '{latest}'"):
        Report.from_toml("x", text.format(latest))


def test_two_that_save_one_name_at_once_write_a_file_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"title": "First", "sql": "SELECT count(*) AS n FROM events"}
    save(tmp_path, "mine", settings)
    replace, others = Path.replace, ["Second"]

    def beside_another(self: Path, target: Path) -> Path:
        if others:
            save(tmp_path, "mine", {**settings, "title": others.pop()}, replace=True)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", beside_another)
    save(tmp_path, "mine", {**settings, "title": "Third"}, replace=True)
    assert Library(tmp_path)["mine"].title == "Third"
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["mine.toml"]


def test_a_report_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path: Path) -> None:
    settings = {"title": "Long", "sql": f"SELECT count(*) AS n FROM events -- {'x' * 100_000}"}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save(tmp_path, "long", settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "reports").iterdir()) == []
