"""One supervisor and its workers, as processes."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from proxy.supervisor import LONGEST_DELAY_S, QUIET_S, Backoff
from tests.e2e.conftest import StartProxy
from tests.e2e.raw_http import ask, request
from tests.e2e.test_kill import completion
from tests.proxy_process import UPSTREAM_KEY, ProxyProcess, UpstreamProcess, until
from tests.workers.processes import ended, kill, listeners, serving, spread, workers

HASTY = ("-m", "tests.workers.supervisor_at_hand")


def refused(proxy: ProxyProcess) -> tuple[int, str]:
    """Start a proxy that can't; return its exit status and what it said."""
    with pytest.raises(AssertionError):
        proxy.start()
    return proxy.wait(), proxy.log


def alive(port: int) -> bool:
    return ask(port, request("/healthz", method="GET")).status == 200


def test_workers_share_a_port_and_are_announced_once(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(openai_like.base_url, workers=3)
    pids = serving(proxy, 3)
    for _ in range(20):
        assert alive(proxy.port)
    for pid in (proxy.process.pid, *pids):
        assert UPSTREAM_KEY.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.stdout is not None
    assert b"serves" not in proxy.process.stdout.read()
    assert proxy.wait() == 0
    assert all(ended(pid) for pid in pids)
    assert proxy.rows("SELECT * FROM workers") == []


@pytest.mark.parametrize("sharing", [False, True], ids=["alone", "another supervisor's"])
def test_a_taken_port_is_told_in_one_sentence(
    openai_like: UpstreamProcess, start_proxy: StartProxy, tmp_path: Path, sharing: bool
) -> None:
    other = start_proxy(openai_like.base_url, workers=2 if sharing else 1)
    second = ProxyProcess(tmp_path / "second", openai_like.base_url, workers=2, port=other.port)
    status, said = refused(second)
    assert status == 2
    assert said.count("\n") == 1
    assert f"127.0.0.1:{other.port} can't be listened on" in said
    assert "PROXY_PORT" in said
    assert not second.database.exists()


def test_bad_prices_are_told_in_one_sentence(openai_like: UpstreamProcess, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("currency = 3")
    settings: dict[str, Any] = {"workers": 2, "pricing_file": tmp_path / "bad.toml"}
    status, said = refused(ProxyProcess(tmp_path / "proxy", openai_like.base_url, **settings))
    assert status == 1
    assert "bad.toml" in said
    assert "Traceback" not in said


def test_when_no_worker_can_start_the_reason_is_told(
    openai_like: UpstreamProcess, tmp_path: Path
) -> None:
    proxy = ProxyProcess(tmp_path / "proxy", openai_like.base_url, workers=2)
    proxy.database.parent.mkdir()
    proxy.database.write_bytes(b"SQLite format 3\0" + bytes(5000))
    status, said = refused(proxy)
    assert status in {1, 2}
    assert said.count("did not start") == 2
    assert "weighbridge: no worker could start" in said
    assert "Traceback" not in said


def test_a_worker_that_can_not_start_does_not_keep_the_others_from_serving(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(openai_like.base_url, workers=2, program=(*HASTY, "1", "1"))
    assert alive(proxy.port)
    serving(proxy, 2)
    assert "did not start: no good reason" in proxy.log
    assert "only 1 of 2 workers serve" in proxy.log
    assert proxy.terminate() == 0


def test_a_killed_worker_is_replaced(openai_like: UpstreamProcess, start_proxy: StartProxy) -> None:
    proxy = start_proxy(openai_like.base_url, workers=2)
    key = proxy.key()
    for _ in range(3):
        first, second = serving(proxy, 2)
        kill(first)
        until(lambda first=first: first not in workers(proxy))  # type: ignore[misc]
        assert second in serving(proxy, 2)
    for _ in range(8):
        answer = ask(proxy.port, completion(key, "m"))
        assert answer.status == 200
        assert answer.whole
    assert "ended with signal 9: another one is started" in proxy.log
    assert proxy.terminate() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_running_streams_finish(
    openai_like: UpstreamProcess, start_proxy: StartProxy, number: signal.Signals
) -> None:
    proxy = start_proxy(openai_like.base_url, workers=2)
    key = proxy.key()
    clients = spread(proxy, [completion(key, f"m-{n}", "gap=0.1") for n in range(8)])
    until(lambda: len(openai_like.truth()["answers"]) == 8)
    proxy.process.send_signal(number)
    until(lambda: listeners(proxy.port) == 0)
    for client in clients:
        with client:
            answer = client.answer()
            assert (answer.whole, answer.body.endswith(b"[DONE]\n\n")) == (True, True)
    assert proxy.wait() == 0
    assert proxy.states() == {"exact": 8}


def test_who_does_not_stop_is_killed(openai_like: UpstreamProcess, start_proxy: StartProxy) -> None:
    proxy = start_proxy(
        openai_like.base_url, workers=2, program=(*HASTY, "0.5"), shutdown_grace_s=0
    )
    stuck, _ = serving(proxy, 2)
    os.kill(stuck, signal.SIGSTOP)
    assert proxy.terminate() == 1
    assert ended(stuck)
    assert f"worker {stuck} takes too long: killed" in proxy.log


def test_workers_end_when_their_supervisor_is_killed(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(openai_like.base_url, workers=2)
    key = proxy.key()
    pids = serving(proxy, 2)
    clients = spread(proxy, [completion(key, f"m-{n}", "gap=0.1") for n in range(4)])
    until(lambda: len(openai_like.truth()["answers"]) == 4)
    proxy.kill()
    for client in clients:
        with client:
            assert client.answer().whole
    until(lambda: all(ended(pid) for pid in pids))
    assert proxy.states() == {"exact": 4}
    again = proxy.start()
    assert alive(again.port)


def test_a_hang_up_has_prices_read_again_and_ends_nobody(
    openai_like: UpstreamProcess, start_proxy: StartProxy, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text("[models.m]\ninput = 1.0\noutput = 1.0\n")
    proxy = start_proxy(openai_like.base_url, workers=2, pricing_file=prices)
    pids = serving(proxy, 2)
    prices.write_text("[models.m]\ninput = nonsense\n")
    proxy.process.send_signal(signal.SIGHUP)
    until(lambda: "prices.toml" in proxy.log)
    assert len(proxy.rows("SELECT * FROM books")) == 1
    prices.write_text("[models.m]\ninput = 2.0\noutput = 1.0\n")
    proxy.process.send_signal(signal.SIGHUP)
    until(lambda: len(proxy.rows("SELECT * FROM books")) == 2)
    assert serving(proxy, 2) == pids
    assert proxy.terminate() == 0


def test_restarts_wait_longer_each_time_until_it_was_quiet() -> None:
    backoff = Backoff()
    delays = [backoff.delay_s(now_s) for now_s in range(12)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == LONGEST_DELAY_S
    assert backoff.delay_s(11 + QUIET_S) == LONGEST_DELAY_S
    assert backoff.delay_s(11 + QUIET_S + QUIET_S + LONGEST_DELAY_S) == delays[0]


def test_a_host_of_two_addresses_has_one_port(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    if len(set(socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM))) < 2:
        pytest.skip("localhost has one address here")
    proxy = start_proxy(openai_like.base_url, workers=2, host="localhost")
    for address in ("127.0.0.1", "::1"):
        with socket.create_connection((address, proxy.port)):
            pass
