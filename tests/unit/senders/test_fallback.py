from __future__ import annotations

import inspect
import pickle
import time

import pytest

from metlog import MetlogClient, plugins
from metlog.encoders.json import JsonEncoder
from metlog.errors import ConfigError, SenderError
from metlog.senders import BaseSender, fallback
from metlog.senders.fallback import FallbackSender
from metlog.testing.peers import StreamPeer, closed_port


class Flaky:
    def __init__(self, *, fails=False, **attributes):
        self.fails, self.frames, self.calls = fails, [], []
        self.max_frame, self.reason = 1000, "refused"
        self.__dict__.update(attributes)

    def send(self, frame):
        self.calls.append("send")
        if self.fails:
            raise SenderError("down", reason=self.reason)
        self.frames.append(frame)

    def flush(self):
        self.calls.append("flush")

    def close(self):
        self.calls.append("close")
        if self.fails:
            raise RuntimeError("cannot close")


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(fallback, "monotonic", lambda: now[0])
    return now


def test_the_next_one_takes_what_the_first_cannot_and_the_first_is_asked_again_after_a_pause(clock):
    first, second = Flaky(fails=True), Flaky()
    sender = FallbackSender(senders=[first, second], pause=30)
    sender.send(b"1")
    first.fails = False
    sender.send(b"2")  # still in the pause
    clock[0] += 31
    sender.send(b"3")
    assert (first.frames, second.frames) == ([b"3"], [b"1", b"2"])
    assert first.calls == ["send", "send"]
    assert sender.stats() == {"senders[0]": 1, "senders[1]": 2}


def test_when_all_fail_the_reason_is_the_last_ones_and_all_are_asked_every_time(clock):
    first, second = Flaky(fails=True, reason="timeout"), Flaky(fails=True)
    sender = FallbackSender(senders=[first, second])
    for _ in range(3):
        with pytest.raises(SenderError) as caught:
            sender.send(b"x")
        assert caught.value.reason == "refused"
    assert (len(first.calls), len(second.calls)) == (3, 3)
    second.fails = False
    sender.send(b"y")
    assert second.frames == [b"y"]


def test_a_frame_that_the_others_do_not_take_goes_to_one_in_its_pause(clock):
    first, second = Flaky(fails=True), Flaky()
    sender = FallbackSender(senders=[first, second], pause=30)
    sender.send(b"1")
    first.fails, second.fails = False, True
    sender.send(b"2")  # the first is in its pause, and the only one that takes it
    sender.send(b"3")
    assert (first.frames, second.frames) == ([b"2", b"3"], [b"1"])
    first.fails = True
    with pytest.raises(SenderError):
        sender.send(b"4")


def test_limits_are_the_tightest_and_it_is_nonblocking_only_if_all_are():
    quick, slow = Flaky(nonblocking=True, max_frame=500, max_event=700), Flaky(max_frame=600)
    assert FallbackSender(senders=[quick, quick]).nonblocking
    both = FallbackSender(senders=[quick, slow])
    assert (both.nonblocking, both.max_frame, both.max_event) == (False, 500, 700)


def test_all_are_flushed_and_closed_whatever_one_of_them_raises():
    first, second = Flaky(fails=True), Flaky()
    sender = FallbackSender(senders=[first, second])
    sender.flush()
    with pytest.raises(RuntimeError, match="cannot close"):
        sender.close()
    assert second.calls == ["flush", "close"]
    with pytest.raises(SenderError) as caught:
        sender.send(b"x")
    assert caught.value.reason == "closed"


def test_every_hook_reaches_each_of_them():
    """Whichever hook `BaseSender` has: what is not for one of several senders is named here."""
    of_one = {"send", "recover", "probe"}  # the first that takes the frame; `metlog doctor` asks `parts`
    hooks = {
        name for name, member in vars(BaseSender).items() if inspect.isfunction(member) and name[0] != "_"
    } - of_one
    arguments = {"deadline": (1.0,), "on_loss": (print,), "encoded_by": (JsonEncoder(),)}
    answers = {"stats": {"x": 1}, "isatty": True}
    called = []

    def recorder(name):
        def call(self, *given):
            called.append((name, self, given))
            return answers.get(name)

        return call

    kind = type("Recording", (BaseSender,), {name: recorder(name) for name in {*hooks, "send"}})
    first, second = kind(), kind()
    sender = FallbackSender(senders=[first, second])
    for name in sorted(hooks):
        called.clear()
        given = arguments.get(name, ())
        getattr(sender, name)(*given)
        assert [each for each in called if each[0] == name] == [(name, first, given), (name, second, given)], name


def test_it_writes_to_a_terminal_when_all_of_them_do():
    terminal, other = Flaky(isatty=lambda: True), Flaky(isatty=lambda: False)
    assert FallbackSender(senders=[terminal, terminal]).isatty()
    assert not FallbackSender(senders=[terminal, other]).isatty()
    assert not FallbackSender(senders=[other, terminal]).isatty()


def test_what_one_of_them_learns_later_counts_as_dropped():
    class Late(Flaky):
        def on_loss(self, lost):
            self.lost = lost

        def flush(self):
            if self.lost is not None:
                self.lost("timeout", 2)
            self.lost = None

    client = MetlogClient.from_config(sender={"name": "fallback", "senders": [Late(), "null"]})
    for _ in range(3):
        client.log("a")
    assert client.flush(20)
    assert (client.stats().sent, client.stats().dropped) == (1, {"timeout": 2})
    client.close()


def test_from_tcp_to_a_file_and_back(tmp_path):
    port, spool = closed_port(), tmp_path / "spool.ndjson"
    spec = {
        "name": "fallback",
        "pause": 0.01,
        "senders": [{"name": "tcp", "port": port, "timeout": 0.05}, f"file://{spool}"],
    }
    sender = plugins.build("sender", spec, "sender")
    sender.send(b"1\n")
    assert spool.read_bytes() == b"1\n"
    with StreamPeer(("127.0.0.1", port)) as peer:
        end = time.monotonic() + 5
        while not sender.used[0]:
            assert time.monotonic() < end
            sender.send(b"more\n")
        sender.close()
        assert spool.read_bytes() == b"1\n" + b"more\n" * (sender.used[1] - 1)
        while peer.data != b"more\n":
            assert time.monotonic() < end


def test_faults_name_the_index(tmp_path):
    with pytest.raises(ConfigError, match=r"sender\.senders\[1\]\.prot = 1: sender 'udp' has no such option"):
        plugins.build("sender", {"name": "fallback", "senders": ["null", {"name": "udp", "prot": 1}]}, "sender")
    with pytest.raises(ConfigError, match=r"senders = \[\]: wants two or more"):
        plugins.build("sender", {"name": "fallback", "senders": []}, "sender")
    with pytest.raises(ConfigError, match=r"pause = 0\.0: wants"):
        plugins.build("sender", {"name": "fallback", "senders": ["null"], "pause": 0}, "sender")
    with pytest.raises(TypeError, match="a FallbackSender cannot be pickled"):
        pickle.dumps(FallbackSender(senders=["null"]))
