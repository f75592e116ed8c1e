"""What polls keep, and how often they ask."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from proxy.errors import UpstreamUnreachableError
from proxy.http.fetch import Fetched, TooLargeError
from proxy.http.pool import UpstreamPool
from proxy.ledger.port import DeferredRequest, Ledger
from proxy.metering import polling
from proxy.metering.batch_files import Unreadable
from proxy.metering.finishing import Finisher
from proxy.metering.polling import PollPolicy, Polls, Watch
from proxy.metering.upstreams import Upstream, Upstreams
from proxy.wire.endpoints import BATCHES, RESPONSES
from proxy.wire.headers import AnswerHead

HOUR_US = 3_600_000_000


class Origin:
    authority = b"api.example"
    base_path = "/v1"


class Pool:
    origin = Origin()


def upstream(credentials: list[tuple[bytes, bytes]] | None = None) -> Upstream:
    return Upstream(name="default", pool=cast("UpstreamPool", Pool()),
                    credentials=credentials)  # fmt: skip


class Finishing:
    classifier = None


def polls(policy: PollPolicy, to: Upstream, ledger: Ledger | None = None) -> Polls:
    return Polls(
        policy,
        ledger=cast("Ledger", ledger),
        finisher=cast("Finisher", Finishing()),
        upstreams=Upstreams(to),
        clock_us=lambda: HOUR_US,
    )


def policy(*, managed: bool) -> PollPolicy:
    return PollPolicy(managed=managed, interval_s=2, lifetime_s=48 * 3600)


def deferred(name: str) -> DeferredRequest:
    return DeferredRequest(
        request_id=1,
        upstream="default",
        object_id=name,
        subscription_id=1,
        endpoint="responses",
        opened_at_us=HOUR_US,
        key_digest=b"",
        key_prefix="",
        model_requested="",
        body_bytes=1,
        waits=True,
    )


def test_batches_and_clients_own_keys_are_asked_with_more_rarely() -> None:
    asked = policy(managed=True).schedule(RESPONSES)
    assert (asked.first_s, asked.longest_s) == (2, 60)
    asked = policy(managed=True).schedule(BATCHES)
    assert (asked.first_s, asked.longest_s) == (30, 600)
    asked = policy(managed=False).schedule(RESPONSES)
    assert (asked.first_s, asked.longest_s) == (10, 60)


async def test_what_is_kept_of_clients_is_bounded_and_forgotten() -> None:
    to = upstream()
    kept = polls(policy(managed=False), to)
    for number in range(polling.REMEMBERED_MAX + 10):
        name = f"resp_{number}"
        kept.remember(to, RESPONSES, name, f"/v1/responses/{name}", [(b"Authorization", b"x")])
    assert len(kept._watched) == polling.REMEMBERED_MAX
    assert ("default", "resp_9") not in kept._watched
    watch = kept._watched["default", "resp_10"]
    head = polling._head(watch, watch.target)
    assert head.startswith(b"GET /v1/responses/resp_10 HTTP/1.1\r\nHost: api.example\r\n")
    assert head.endswith(b"Authorization: x\r\n\r\n")
    later_s = watch.due_s + 100
    kept._loop = cast("asyncio.AbstractEventLoop", SimpleNamespace(time=lambda: later_s))
    kept.postpone(deferred("resp_10"))
    assert watch.due_s > later_s
    kept.forget(deferred("resp_10"))
    kept.forget(deferred("resp_10"))
    kept.postpone(deferred("resp_10"))
    assert ("default", "resp_10") not in kept._watched


RUNNING = b'{"id":"resp_1","status":"in_progress"}'
OF_ANOTHER = 1200


class Scripted:
    """A ledger of one deferred request, and an upstream's answers to the questions for it."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)

    async def deferred(self, object_id: str) -> list[DeferredRequest]:
        return [deferred(object_id)]

    async def fetch(self, *_: object, **__: object) -> Fetched:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        head = AnswerHead(status=answer % 1000, reason=b"", headers=[], fields={})
        return Fetched(head=head, body=b"<html>" if answer == OF_ANOTHER else RUNNING)


@pytest.mark.parametrize("managed", [True, False])
async def test_who_can_not_be_asked_is_told_once_and_when_that_changes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, managed: bool
) -> None:
    gone, large = UpstreamUnreachableError("No route."), TooLargeError("Too large.")
    scripted = Scripted(
        401,
        401,
        403,
        503,
        503,
        gone,
        TimeoutError(),
        gone,
        large,
        404,
        200,
        200,
        401,
        OF_ANOTHER,
        302,
    )
    monkeypatch.setattr(polling, "fetch", scripted.fetch)
    to = upstream([(b"Authorization", b"Bearer secret-of-ours")])
    kept = polls(policy(managed=managed), to, cast("Ledger", scripted))
    watch = Watch(
        upstream=to, endpoint=RESPONSES, object_id="resp_1", opened_at_us=HOUR_US, target="/x",
        headers=[(b"Authorization", b"Bearer secret-of-a-client")],
    )  # fmt: skip
    while scripted.answers:
        await kept._ask(watch)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    reasons = ("with 401", "with 403", "with 503", "not reached", "too large", "with 401",
               "another object", "with 302")  # fmt: skip
    assert len(said) == len(reasons)
    for message, reason in zip(said, reasons, strict=True):
        assert reason in message
        assert "48 h" in message
        assert "secret" not in message
    assert ("PROXY_UPSTREAM_API_KEY" in said[0]) is managed
    assert "PROXY_UPSTREAM_API_KEY" not in said[2]


async def test_a_file_that_can_not_be_read_yet_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    to = upstream()
    kept = polls(policy(managed=False), to)
    watch = Watch(
        upstream=to, endpoint=BATCHES, object_id="batch_1", opened_at_us=HOUR_US, target="/x",
        headers=[],
    )  # fmt: skip

    async def read_later(*_: object) -> Unreadable:
        return Unreadable("the output file was answered with 503", passing=True)

    monkeypatch.setattr(polling, "read_output", read_later)
    body = b'{"id":"batch_1","status":"completed","endpoint":"/v1/responses","output_file_id":"f"}'
    answer = Fetched(head=AnswerHead(status=200, reason=b"", headers=[], fields={}), body=body)
    for _ in range(3):
        assert not await kept._judge(watch, deferred("batch_1"), answer)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the output file was answered with 503" in caplog.text


async def test_managed_mode_keeps_nothing_of_clients() -> None:
    to = upstream([(b"Authorization", b"Bearer ours")])
    kept = polls(policy(managed=True), to)
    kept.remember(to, RESPONSES, "resp_1", "/v1/responses/resp_1", [(b"Authorization", b"x")])
    assert not kept._watched
