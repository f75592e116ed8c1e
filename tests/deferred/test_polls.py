"""The proxy asks by itself how what is deferred ended, for clients that never do."""

import json
import time

from tests.deferred.conftest import OFTEN_S, StartProxy
from tests.deferred.objects_upstream import TOKENS, Objects
from tests.deferred.watching import CLIENT_KEY, RESPONSES, call, made_by, post, state, wait_for
from tests.proxy_process import UPSTREAM_KEY, ProxyProcess, until


def test_a_client_that_never_asks(managed: ProxyProcess, upstream: Objects) -> None:
    made = json.loads(post(managed, managed.key()).body)["id"]
    until(lambda: upstream.reads(made) > 1)
    assert state(managed) == ["deferred"]
    upstream.end(made)
    wait_for(managed, "exact")
    assert managed.tokens() == TOKENS
    assert {received.header("authorization") for received in upstream.asked} == {
        f"Bearer {UPSTREAM_KEY}"
    }
    reads = upstream.reads(made)
    time.sleep(4 * OFTEN_S)
    assert upstream.reads(made) == reads
    managed.check_sums()


def test_the_pauses_grow(managed: ProxyProcess, upstream: Objects) -> None:
    made = json.loads(post(managed, managed.key()).body)["id"]
    time.sleep(1.5)
    assert 3 <= upstream.reads(made) <= 14  # every 50 ms it would be 30


def test_a_read_and_a_poll_at_once_bill_once(managed: ProxyProcess, upstream: Objects) -> None:
    key = managed.key()
    made = [json.loads(post(managed, key).body)["id"] for _ in range(20)]
    for name in made:
        upstream.end(name)
    for name in made:
        assert call(managed, key, f"{RESPONSES}/{name}").status == 200
    wait_for(managed, *["exact"] * 20)
    assert managed.tokens() == {kind: 20 * number for kind, number in TOKENS.items()}
    managed.check_sums()


def test_killed_in_between(start_proxy: StartProxy, upstream: Objects) -> None:
    proxy = start_proxy(poll_interval_s=OFTEN_S)
    made = json.loads(post(proxy, proxy.key()).body)["id"]
    before = made_by(proxy)
    proxy.kill()
    upstream.end(made)
    proxy.start()
    wait_for(proxy, "exact")
    assert made_by(proxy)["opened_at_us"] == before["opened_at_us"]
    assert proxy.tokens() == TOKENS
    proxy.check_sums()


def test_several_workers_ask_as_one(start_proxy: StartProxy, upstream: Objects) -> None:
    # Seldom enough that all have ended before anyone asks for the first time.
    proxy = start_proxy(poll_interval_s=1.0, workers=2)
    key = proxy.key()
    made = [json.loads(post(proxy, key).body)["id"] for _ in range(6)]
    for name in made:
        upstream.end(name)
    wait_for(proxy, *["exact"] * 6)
    assert {upstream.reads(name) for name in made} == {1}
    assert proxy.tokens() == {kind: 6 * number for kind, number in TOKENS.items()}


def test_an_object_that_is_gone_lets_its_period_close(
    managed: ProxyProcess, upstream: Objects
) -> None:
    made = json.loads(post(managed, managed.key()).body)["id"]
    del upstream.objects[made]
    wait_for(managed, "partial")
    row = made_by(managed)
    assert "gone at the upstream" in row["notes"]
    assert managed.tokens() == {"input": -(-row["body_bytes"] // 4)}


def test_one_that_never_ends_is_given_up(start_proxy: StartProxy, upstream: Objects) -> None:
    proxy = start_proxy(poll_interval_s=OFTEN_S, deferred_lifetime_s=0.5)
    made = json.loads(post(proxy, proxy.key()).body)["id"]
    wait_for(proxy, "partial")
    assert "not at its end" in made_by(proxy)["notes"]
    reads = upstream.reads(made)
    time.sleep(0.5)
    assert upstream.reads(made) == reads
    upstream.end(made)
    assert state(proxy) == ["partial"]


def test_passthrough_asks_with_the_clients_own_key(
    passthrough: ProxyProcess, upstream: Objects
) -> None:
    made = json.loads(post(passthrough, CLIENT_KEY).body)["id"]
    upstream.end(made)
    wait_for(passthrough, "exact")
    (received,) = upstream.asked
    assert received.header("authorization") == f"Bearer {CLIENT_KEY}"
    assert passthrough.tokens() == TOKENS
    database = passthrough.database.read_bytes()
    database += passthrough.database.with_name(passthrough.database.name + "-wal").read_bytes()
    assert CLIENT_KEY.encode() not in database
    assert CLIENT_KEY not in passthrough.log


def test_passthrough_asks_no_more_after_a_restart_but_reads_tell(
    start_proxy: StartProxy, upstream: Objects
) -> None:
    proxy = start_proxy(poll_interval_s=OFTEN_S, managed=False)
    made = json.loads(post(proxy, CLIENT_KEY).body)["id"]
    proxy.kill()
    upstream.asked.clear()
    upstream.end(made)
    proxy.start()
    time.sleep(1.0)
    assert upstream.asked == []
    assert state(proxy) == ["deferred"]
    assert call(proxy, CLIENT_KEY, f"{RESPONSES}/{made}").status == 200
    assert state(proxy) == ["exact"]
    assert proxy.tokens() == TOKENS


def test_passthrough_gives_up_without_credentials(
    start_proxy: StartProxy, upstream: Objects
) -> None:
    proxy = start_proxy(poll_interval_s=OFTEN_S, managed=False, deferred_lifetime_s=1)
    post(proxy, CLIENT_KEY)
    proxy.kill()
    proxy.start()
    wait_for(proxy, "partial")


def test_what_shows_no_end_is_asked_again(managed: ProxyProcess, upstream: Objects) -> None:
    made = json.loads(post(managed, managed.key()).body)["id"]
    found = upstream.objects[made]
    for nonsense in ({"status": 3}, {"status": "completed", "id": "resp_other"}, {"id": None}):
        upstream.objects[made] = found | nonsense
        upstream.asked.clear()
        until(lambda: upstream.reads(made) > 1)
        assert state(managed) == ["deferred"]
    upstream.objects[made] = found
    upstream.end(made)
    wait_for(managed, "exact")
