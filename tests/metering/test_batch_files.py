"""How a batch's file is read and settled: what stands in the way, what is written, and how."""

from typing import Any, cast

import pytest

from proxy.core.usage import RequestState
from proxy.errors import UpstreamUnreachableError
from proxy.http.fetch import TooLargeError
from proxy.ledger.port import DeferredRequest, Settlement
from proxy.metering import batch_files
from proxy.metering.batch_files import Unreadable, read_output
from proxy.metering.classifying import Classifier
from proxy.metering.estimator import Estimator
from proxy.metering.finishing import Finisher
from proxy.metering.settling import Settler
from proxy.metering.upstreams import Upstream
from proxy.wire.answers import AnswerText
from proxy.wire.batch_lines import BatchLines, OutputFile
from proxy.wire.deferred import Seen
from proxy.wire.endpoints import CHAT_COMPLETIONS
from tests.wire.test_batch_lines import answered, read, used

FILE = OutputFile(file_id="file-1", endpoint=CHAT_COMPLETIONS)
REQUEST = DeferredRequest(
    request_id=1, upstream="default", object_id="batch_1", subscription_id=1, endpoint="batches",
    opened_at_us=1, key_digest=b"", key_prefix="", model_requested="", body_bytes=9, waits=True,
)  # fmt: skip
SEEN = Seen(
    object_id="batch_1", status="completed", usage=None, raw=b"", model=None, service_tier=None,
    text=AnswerText(),
)  # fmt: skip


class Pooled:
    pool = None


class OneClass:
    def context_class(self, *_: object) -> str:
        return ""


class Kept:
    """A settler that keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[Settlement] = []

    async def settle(self, settlement: Settlement) -> bool:
        self.kept.append(settlement)
        return True

    append = settle


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (TooLargeError("x"), Unreadable("the output file has over 4,294,967,296 bytes")),
        (
            UpstreamUnreachableError("x"),
            Unreadable("the output file could not be fetched", passing=True),
        ),
        (TimeoutError(), Unreadable("the output file could not be fetched", passing=True)),
    ],
)
async def test_what_stands_in_the_way(
    monkeypatch: pytest.MonkeyPatch, error: Exception, found: Unreadable
) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(batch_files, "download", fails)
    upstream, classes = cast("Upstream", Pooled()), cast("Classifier", OneClass())
    assert await read_output(upstream, b"", FILE, classes) == found


@pytest.mark.parametrize("name", ["../files", "a/b", "x" * 300, "a?b", "a b"])
async def test_a_name_that_is_no_segment_of_a_path(name: str) -> None:
    file = OutputFile(file_id=name, endpoint=CHAT_COMPLETIONS)
    upstream, classes = cast("Upstream", Pooled()), cast("Classifier", OneClass())
    found = await read_output(upstream, b"", file, classes)
    assert found == Unreadable("the output file's id can't be asked for")


async def settled(lines: BatchLines) -> list[Settlement]:
    settler = Kept()
    finisher = Finisher(
        settler=cast("Settler", settler),
        estimator=cast("Estimator", None),
        classifier=cast("Classifier", OneClass()),
        clock_us=lambda: 2,
    )
    await finisher.finish_batch(REQUEST, SEEN, FILE, lines)
    return settler.kept


async def test_one_model_is_the_settlement_s() -> None:
    (end,) = await settled(read(answered(used()), answered(used())))
    assert (end.appended_from, end.model, end.context_class) == (0, "gpt-4o", "")
    assert end.measurement.state is RequestState.EXACT
    assert end.measurement.usage.tokens == 10


async def test_several_are_one_settlement_too() -> None:
    """Parts that were written one by one could be cut otherwise when the file is read again."""
    one, two, long = (answered(used(*which)) for which in ((3, "b"), (4, "a"), (5000, "b")))
    written = await settled(read(one, two, long))
    assert written == await settled(read(long, two, one))
    (end,) = written
    usage = end.measurement.usage
    assert (end.appended_from, end.model, end.context_class) == (0, "", "")
    assert [(each.model, each.context_class, each.quantity) for each in usage.quantities] == [
        ("a", "", 4), ("a", "", 2), ("b", "", 3), ("b", "", 2),
        ("b", "long", 5000), ("b", "long", 2),
    ]  # fmt: skip
    assert (usage.input_tokens, usage.service_tier) == (5007, "batch")


async def test_one_class_is_the_settlement_s() -> None:
    (end,) = await settled(read(answered(used(5000, "a")), answered(used(6000, "b"))))
    assert (end.model, end.context_class) == ("", "long")


async def test_what_is_missing_makes_it_partial() -> None:
    (end,) = await settled(read(answered(used()), answered({"model": "gpt-4o"})))
    assert end.measurement.state is RequestState.PARTIAL
    assert (end.model, end.measurement.usage.tokens) == ("gpt-4o", 5)
