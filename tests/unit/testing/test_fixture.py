"""The fixture `metlog_events`, in test files of a user: each runs in a pytest within this one, or of its own."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

SHOP = """
import metlog

metlog.configure("udp://127.0.0.1:9", logger="shop")
billing = metlog.get_client("billing").bind(tenant="t1")

def buy(user):
    metlog.log(("order", "paid"), "one order", fields={"user": user})
    metlog.incr("orders", rate=0.001)
    billing.log("invoice")
"""


@pytest.fixture
def shop(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(shop=SHOP)
    return pytester


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest", *options)


def test_three_lines_are_enough(shop):
    shop.makepyfile(
        """
        import shop

        def test_an_order_is_logged(metlog_events):
            shop.buy("u1")
            assert metlog_events.one("order").fields == {"user": "u1"}
            assert metlog_events.counter("orders") == 1
            assert metlog_events.one("invoice").fields["tenant"] == "t1"
            assert metlog_events.one("order").logger == "shop"

        def test_each_test_begins_with_none(metlog_events):
            assert list(metlog_events) == []
        """
    )
    run(shop).assert_outcomes(passed=2)


def test_a_test_that_fails_shows_what_was_logged(shop):
    shop.makepyfile(
        """
        import shop

        def test_wrong(metlog_events):
            shop.buy("u1")
            metlog_events.one("order", fields={"user": "u2"})

        def test_another_error(metlog_events):
            shop.buy("u3")
            assert False

        def test_right(metlog_events):
            shop.buy("u4")
        """
    )
    result = run(shop)
    result.assert_outcomes(passed=1, failed=2)
    text = result.stdout.str()
    assert "wants one event of type 'order' with fields = {'user': 'u2'}, found 0; logged:" in text
    assert "AssertionError" in text
    assert "metlog/testing" not in text  # the error stands where the test asked, not inside metlog
    (shown,) = (part for part in text.split("metlog events") if "user=u3" in part)
    assert "order shop: one order user=u3" in shown
    assert "user=u4" not in text


def test_what_a_fixture_logs_at_its_end_is_not_sent(shop):
    """The fixtures that asked for `metlog_events` end first."""
    shop.makepyfile(
        """
        import metlog
        import pytest
        import shop

        @pytest.fixture
        def service(metlog_events):
            shop.buy("before")
            yield
            shop.buy("after")
            assert [event.fields["user"] for event in metlog_events.matching("order")] == ["before", "within", "after"]

        def test_it(service):
            shop.buy("within")

        def test_sending_is_as_it_was_configured():
            assert metlog.default.sender.__class__.__name__ == "UdpSender"
        """
    )
    run(shop).assert_outcomes(passed=2)


def test_it_can_be_left_out(shop):
    shop.makepyfile("def test_it(metlog_events): pass")
    result = run(shop, "-p", "no:metlog")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'metlog_events' not found"])


@pytest.mark.process
def test_a_run_that_does_not_use_it_does_not_import_metlog(pytester):
    pytester.makepyfile(
        """
        import sys

        def test_it():
            assert not [name for name in sys.modules if name.partition(".")[0] in {"metlog", "msgspec", "stevedore"}]
        """
    )
    pytester.runpytest_subprocess("-p", "no:hypothesispytest", timeout=100).assert_outcomes(passed=1)


def test_it_is_listed_with_its_first_sentence(pytester):
    result = run(pytester, "--fixtures")
    result.stdout.fnmatch_lines(["metlog_events*", "*What the code under test logs through metlog*"])


@pytest.mark.process
def test_unittest_style_has_capture(shop):
    """Without pytest: `capture` needs nothing but metlog."""
    shop.makepyfile(
        case="""
        import unittest
        from metlog.testing import capture
        import shop

        class Case(unittest.TestCase):
            def setUp(self):
                self.events = self.enterContext(capture())

            def test_it(self):
                shop.buy("u1")
                self.assertEqual(self.events.types, ["order", "counter", "invoice"])

        if __name__ == "__main__":
            import sys
            done = unittest.main(exit=False).result
            assert "pytest" not in sys.modules
            sys.exit(not done.wasSuccessful() or done.testsRun != 1)
        """
    )
    done = subprocess.run([sys.executable, "case.py"], cwd=shop.path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_tests_that_the_page_shows_pass(pytester):
    page = ROOT / "docs" / "testing.md"
    pytester.makepyfile(
        "\n".join(re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE))
    )
    outcome = run(pytester).parseoutcomes()
    assert outcome.pop("passed") > 10
    assert set(outcome) <= {"skipped"}


def test_the_fixture_can_be_asked_for_where_no_plugin_is_loaded(shop):
    shop.makeconftest('pytest_plugins = ["metlog.integrations.pytest"]')
    shop.makepyfile(
        """
        import shop

        def test_an_order_is_logged(metlog_events):
            shop.buy("u1")
            assert metlog_events.one("order").fields == {"user": "u1"}
        """
    )
    run(shop, "-p", "no:metlog").assert_outcomes(passed=1)
