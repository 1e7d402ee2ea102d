"""The output http to a stock Bagheera: ids are UUIDs, a batch has the form that its consumers read, a lasting 404 is told."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from metlog.errors import ConfigError
from metlog.listener.outputs import Rejected, Undelivered, _posting
from metlog.listener.outputs import http as module
from metlog.listener.outputs.http import HttpOutput
from metlog.plugins import check
from tests.helpers.bagheera import Bagheera
from tests.helpers.sink import batch, numbered

IDENT = "79430d75-0448-44a5-9ef1-466405d1d3c5"


@pytest.fixture
def bagheera() -> Iterator[Bagheera]:
    with Bagheera() as server:
        yield server


def connected(port: int, **options: Any) -> HttpOutput:
    output = HttpOutput(port=port, **options)
    output.start()
    return output


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/submit/metlog", b"x", 201), ("PUT", "/1.0/submit/metlog", b"x", 201),
        ("PUT", f"/submit/metlog/{IDENT}", b"x", 201),
        ("PUT", f"/submit/metlog/{IDENT}/partition/1", b"x", 201), ("PUT", "/submit/metlog/no-uuid", b"x", 404),
        ("POST", "/submit/other", b"x", 404), ("POST", "/elsewhere", b"x", 404), ("POST", "/submit/metlog", b"", 400),
        ("POST", "/submit/metlog", b"x" * 1_048_577, 413), ("GET", "/submit/metlog", b"", 403),
        ("DELETE", f"/submit/metlog/{IDENT}", b"", 403),
    ],
)  # fmt: skip
def test_the_stand_in_answers_as_its_table_says(
    bagheera: Bagheera, method: str, path: str, body: bytes, status: int
) -> None:
    answer = httpx.request(method, f"http://127.0.0.1:{bagheera.port}{path}", content=body, trust_env=False)
    assert answer.status_code == status
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("form", ["lines", "array", "single"])
def test_batches_arrive_in_the_form_that_was_asked_for(bagheera: Bagheera, form: Any, compression: str) -> None:
    output = connected(bagheera.port, batch=form, compression=compression)
    output.write(batch(*numbered(5), ident="one"))
    output.write(batch(*numbered(5), ident="two"))
    output.close()
    assert set(bagheera.statuses) == {201}
    assert len(bagheera.taken) == (10 if form == "single" else 2)
    found = []
    for submission in bagheera.taken:
        events = (
            [json.loads(line) for line in submission.body.splitlines()]
            if form == "lines"
            else json.loads(submission.body)
        )
        found += events if isinstance(events, list) else [events]
        assert submission.headers["content-type"] == ("application/x-ndjson" if form == "lines" else "application/json")
        assert "x-obsolete-document" not in {name.lower() for name in submission.headers}
        assert uuid.UUID(submission.id).version == 5
    assert [event["fields"]["n"] for event in found] == [0, 1, 2, 3, 4] * 2
    assert len({submission.id for submission in bagheera.taken}) == len(bagheera.taken)


@pytest.mark.parametrize("form", ["lines", "array", "single"])
def test_the_same_batch_has_the_same_ids_in_another_process_too(bagheera: Bagheera, form: Any) -> None:
    for _ in range(2):
        output = connected(bagheera.port, batch=form)
        output.write(batch(*numbered(3), ident="20261128-0001"))
        output.close()
    ids = [submission.id for submission in bagheera.taken]
    assert ids[: len(ids) // 2] == ids[len(ids) // 2 :]
    if form == "lines":
        assert ids[0] == "5e0a7f5b-0000-5000-8000-000000000000" or ids[0] == str(
            uuid.uuid5(module._NAMESPACE, "20261128-0001")
        )
    assert str(module._NAMESPACE) == "6c3f5c3e-95d1-5a0e-9f0a-4d1c2f1f2a77"  # another would double what is tried again


def test_halves_have_uuids_too(bagheera: Bagheera) -> None:
    with Bagheera(max_content_length=700) as small:
        output = connected(small.port, compression="none")
        output.write(batch(*numbered(8)))
        output.close()
        taken = [json.loads(line) for submission in small.taken for line in submission.body.splitlines()]
        assert sorted(event["fields"]["n"] for event in taken) == list(range(8))
        assert set(small.statuses) == {201, 413}
        assert all(uuid.UUID(submission.id).version == 5 for submission in small.taken)


def test_what_fits_no_request_is_rejected_and_the_rest_arrives() -> None:
    with Bagheera(max_content_length=50) as tiny:
        output = connected(tiny.port, compression="none", batch="single")
        with pytest.raises(Rejected) as raised:
            output.write(batch(*numbered(3)))
        assert "3 events refused: 413" in str(raised.value)
        output.close()


def test_ids_of_batches_are_refused_by_it_and_can_be_asked_for(bagheera: Bagheera) -> None:
    output = connected(bagheera.port, ids="batch")
    with pytest.raises(Undelivered, match="404"):
        output.write(batch(*numbered(1), ident="not a uuid"))
    output.close()
    assert bagheera.taken == []


def test_a_404_that_lasts_is_told_once_with_its_remedy(
    bagheera: Bagheera, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(_posting, "monotonic", lambda: now)
    output = connected(bagheera.port, path="/submit/nobody")
    said = []
    for _ in range(6):
        with pytest.raises(Undelivered) as raised:
            output.write(batch(*numbered(1)))
        said.append(str(raised.value))
        now += 60
    assert "nothing is delivered" not in said[0]
    assert ["for 5 min, and nothing is delivered meanwhile: see `path`" in words for words in said] == [False] * 5 + [
        True
    ]
    assert len([record for record in caplog.records if "nothing is delivered" in record.getMessage()]) == 1
    output.close()


@pytest.mark.parametrize(("option", "value"), [("batch", "lots"), ("ids", "random")])
def test_options_that_do_not_exist_are_told(option: str, value: str) -> None:
    with pytest.raises(ConfigError, match=option):
        check("output", {"name": "http", option: value}, "outputs[0]").build()
