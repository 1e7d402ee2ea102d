"""The Prometheus page: its form, its escapes, its bounds."""

from __future__ import annotations

import re

from metlog.listener import metrics


def test_the_form_of_the_page() -> None:
    page = metrics.render(
        [
            metrics.Metric("m_total", "counter", "Help\nof \\ m.", [((("a", 'x"\\\n'), ("b", "é")), 3.0), ((), 0.25)]),
            metrics.Metric("empty", "gauge", "Left out.", []),
        ]
    ).decode()
    assert page == (
        '# HELP m_total Help\\nof \\\\ m.\n# TYPE m_total counter\nm_total{a="x\\"\\\\\\n",b="é"} 3\nm_total 0.25\n'
    )


def test_label_sets_over_the_bound_are_summed_up() -> None:
    samples: list[tuple[metrics.Labels, float]] = [((("name", f"n{n}"),), 1.0) for n in range(1000)]
    lines = metrics.render([metrics.Metric("m", "counter", "x", samples)]).decode().splitlines()
    assert len(lines) == 2 + 200 + 1
    assert lines[-1] == 'm{name="other"} 800'


def test_bounded_counts_keep_the_first_names() -> None:
    counts = metrics.Bounded(2)
    for name in ("a", "b", "c", "a", "d"):
        counts.add(name)
    assert counts.items() == [("a", 2), ("b", 1), ("other", 2)]


def test_a_listeners_status_as_metrics() -> None:
    status = {
        "health": ["output x: stuck"],
        "intake": {"frames": 5, "journaled": 9, "dropped_full": 1, "refused_full": 2},
        "journal": {"bytes": 10, "segments": 2, "appended_bytes": 99, "refuses": "full", "end": [1, 2]},
        "dead_letters": {"not JSON": 4},
        "inputs": {
            "udp": {"frames": 5, "kernel_drops": 7, "sockets": 2},
            "http": {"status_201": 3, "status_503": 1, "open": 4},
        },
        "outputs": {
            "lake": {"events": 9, "alive": True, "error": "disk", "moved": 1700000000.5, "at": [1, 2, 3]},
            "http": {"restarts": 4, "deaths": 3, "failed_starts": 1},
        },
    }
    page = metrics.render(metrics.of_listener(status)).decode()
    for line in (
        "metlog_healthy 0",
        "metlog_journal_accepting 0",
        "metlog_frames_total 5",
        "metlog_events_journaled_total 9",
        'metlog_events_not_taken_total{reason="journal_full"} 1',
        'metlog_dead_letters_total{reason="not JSON"} 4',
        'metlog_input_kernel_drops_total{input="udp"} 7',
        'metlog_input_sockets{input="udp"} 2',
        'metlog_input_responses_total{input="http",status="503"} 1',
        'metlog_input_open{input="http"} 4',
        'metlog_output_events_total{output="lake"} 9',
        'metlog_output_alive{output="lake"} 1',
        'metlog_output_failing{output="lake"} 1',
        'metlog_output_moved_timestamp_seconds{output="lake"} 1700000000.5',
        'metlog_output_restarts_total{output="http"} 4',
        'metlog_output_deaths{output="http"} 3',
        'metlog_output_failed_starts{output="http"} 1',
        "# TYPE metlog_output_deaths gauge",
        "# TYPE metlog_output_failed_starts gauge",
        "metlog_journal_bytes 10",
        "metlog_journal_appended_bytes_total 99",
    ):
        assert line in page.splitlines()
    names = re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)
    assert len(names) == len(set(names))
    for line in page.splitlines():
        assert re.fullmatch(r'# .*|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+]+', line), line
