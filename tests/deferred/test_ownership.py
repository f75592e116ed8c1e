"""Managed mode: whoever made an object may name it; to all others it is not there."""

import json
from decimal import Decimal

import openai
import pytest

from tests.deferred.conftest import OFTEN_S, StartProxy
from tests.deferred.objects_upstream import TOKENS, Objects
from tests.deferred.watching import RESPONSES, call, client, made_by, post, state, wait_for
from tests.proxy_process import ProxyProcess

WAYS = [
    ("GET", ""),
    ("GET", "?stream=true"),
    ("GET", "/input_items"),
    ("POST", "/cancel"),
    ("DELETE", ""),
]


@pytest.mark.parametrize(("method", "rest"), WAYS)
@pytest.mark.parametrize("ended", [False, True])
def test_it_is_not_there_for_others(
    quiet: ProxyProcess, upstream: Objects, method: str, rest: str, ended: bool
) -> None:
    mine, other = quiet.key("mine"), quiet.key("other")
    made = json.loads(post(quiet, mine).body)["id"]
    upstream.objects["resp_foreign"] = upstream.objects[made] | {"id": "resp_foreign"}
    if ended:
        upstream.end(made)
        call(quiet, mine, f"{RESPONSES}/{made}")
    upstream.asked.clear()
    for key, name in ((other, made), (other, "resp_foreign"), (mine, "resp_foreign")):
        answer = call(quiet, key, f"{RESPONSES}/{name}{rest}", method)
        assert answer.status == 404
        error = json.loads(answer.body)["error"]
        assert error["message"] == f"No response found with id '{name}'."
        assert error.keys() == {"message", "type", "param", "code"}
    assert upstream.asked == []
    assert state(quiet) == ["exact" if ended else "deferred"]


@pytest.mark.parametrize(("method", "rest"), WAYS[:4])
def test_it_is_there_for_its_own_subscription(
    quiet: ProxyProcess, upstream: Objects, method: str, rest: str
) -> None:
    first, second = quiet.key("mine"), quiet.key("mine")
    made = json.loads(post(quiet, first).body)["id"]
    upstream.end(made)
    for key in (first, second):
        assert call(quiet, key, f"{RESPONSES}/{made}{rest}", method).status == 200


def test_ownership_outlives_the_settlement_and_a_restart(
    start_proxy: StartProxy, upstream: Objects
) -> None:
    proxy = start_proxy(poll_interval_s=OFTEN_S)
    mine, other = proxy.key("mine"), proxy.key("other")
    made = json.loads(post(proxy, mine).body)["id"]
    upstream.end(made)
    wait_for(proxy, "exact")
    proxy.kill()
    proxy.start()
    assert call(proxy, mine, f"{RESPONSES}/{made}").status == 200
    assert call(proxy, other, f"{RESPONSES}/{made}").status == 404
    assert proxy.tokens() == TOKENS


def test_deleting_does_not_outrun_the_meter(quiet: ProxyProcess, upstream: Objects) -> None:
    key = quiet.key()
    running, ended = (json.loads(post(quiet, key).body)["id"] for _ in range(2))
    upstream.end(ended)
    with client(quiet, key) as sdk:
        sdk.responses.delete(ended)
        with pytest.raises(openai.ConflictError, match="Cancel it"):
            sdk.responses.delete(running)
    assert state(quiet) == ["deferred", "exact"]
    assert ended not in upstream.objects
    assert running in upstream.objects
    assert quiet.tokens() == TOKENS


def test_what_refers_to_a_response_stays_refused(quiet: ProxyProcess, upstream: Objects) -> None:
    key = quiet.key()
    made = json.loads(post(quiet, key).body)["id"]
    answer = post(quiet, key, previous_response_id=made)
    assert answer.status == 400
    assert len(upstream.objects) == 1


def test_batches_stay_closed(quiet: ProxyProcess, upstream: Objects) -> None:
    key = quiet.key()
    for method, target in (("POST", "/v1/batches"), ("GET", "/v1/batches/batch_1")):
        answer = call(quiet, key, target, method)
        assert json.loads(answer.body)["error"]["code"] == "path_not_open"


def test_a_limited_key_reads_what_it_made(quiet: ProxyProcess, upstream: Objects) -> None:
    key = quiet.key()
    most = {"spend_total": Decimal(5)}
    quiet._with_ledger(lambda ledger: ledger.set_limits(most, subscription="acme"))
    made = json.loads(post(quiet, key, max_output_tokens=100).body)["id"]
    budget = quiet.usage(key)["budget"]
    assert budget is not None
    held = made_by(quiet)["reserved"]
    assert held is not None
    quiet.kill()
    quiet.start()
    assert made_by(quiet)["reserved"] == held
    assert float(quiet.rows("SELECT total_reserved AS r FROM limit_states")[0]["r"]) > 0
    upstream.end(made)
    assert call(quiet, key, f"{RESPONSES}/{made}").status == 200
    assert state(quiet) == ["exact"]
    assert float(quiet.rows("SELECT total_reserved AS r FROM limit_states")[0]["r"]) == 0
