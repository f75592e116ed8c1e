"""Objects of several upstreams: each is asked about, and named, where it is."""

import json
from pathlib import Path

from tests.deferred.conftest import NEVER_S, OFTEN_S, StartProxy
from tests.deferred.objects_upstream import TOKENS, Objects
from tests.deferred.watching import RESPONSES, call, post, state, wait_for
from tests.e2e.scripted_thread import ScriptedThread

TABLE = """
[[upstream]]
name = "second"
base_url = "{url}"
api_key = "sk-second"
models = ["o1-*"]
"""


def table(tmp_path: Path, upstream: ScriptedThread) -> Path:
    file = tmp_path / "upstreams.toml"
    file.write_text(TABLE.format(url=upstream.base_url))
    return file


def test_each_is_where_it_was_made(
    start_proxy: StartProxy, upstream: Objects, tmp_path: Path
) -> None:
    with ScriptedThread() as second:
        others = Objects()
        second.answers(others)
        file = table(tmp_path, second)
        proxy = start_proxy(poll_interval_s=NEVER_S, upstreams_file=file)
        key, other = proxy.key("mine"), proxy.key("other")
        first = json.loads(post(proxy, key).body)["id"]
        same = json.loads(post(proxy, other, model="o1-2024").body)["id"]
        assert first == same == "resp_1"  # two upstreams, two objects, two owners
        others.end(same)
        for _ in range(2):
            seen = json.loads(call(proxy, other, f"{RESPONSES}/{same}").body)
            assert seen["status"] == "completed"
        assert json.loads(call(proxy, key, f"{RESPONSES}/{first}").body)["status"] == "queued"
        assert state(proxy) == ["deferred", "exact"]
        assert {each.header("authorization") for each in others.asked} == {"Bearer sk-second"}


def test_each_is_asked_about_there(
    start_proxy: StartProxy, upstream: Objects, tmp_path: Path
) -> None:
    with ScriptedThread() as second:
        others = Objects()
        second.answers(others)
        file = table(tmp_path, second)
        proxy = start_proxy(poll_interval_s=OFTEN_S, upstreams_file=file)
        made = json.loads(post(proxy, proxy.key(), model="o1-2024").body)["id"]
        others.end(made)
        wait_for(proxy, "exact")
        assert proxy.tokens() == TOKENS
        assert upstream.asked == []
        assert {each.header("authorization") for each in others.asked} == {"Bearer sk-second"}
