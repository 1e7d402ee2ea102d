"""What an input's health says of its thread."""

from __future__ import annotations

import threading

from metlog.listener.inputs._heartbeat import STUCK, Heartbeat


def test_a_thread_is_well_until_it_hangs_and_when_it_turns_again() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    heart = Heartbeat(thread, "udp://127.0.0.1:1")
    heart.turned -= STUCK + 1
    assert heart.health() == ""  # not started
    thread.start()
    assert heart.health().startswith("udp://127.0.0.1:1 has not moved for 1")
    heart.beat()
    assert heart.health() == ""
    end.set()
    thread.join()
    assert heart.health() == "the thread of udp://127.0.0.1:1 has died"
