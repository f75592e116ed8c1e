"""Images, seconds and characters: from the answer where it tells, else from the request."""

import pytest

from proxy.core.usage import Metric
from proxy.wire.usage import RequestShape, measures, notes
from proxy.wire.usage.finding import Envelope


@pytest.mark.parametrize(
    ("reported", "duration", "sent", "microseconds"),
    [
        (4, 3.7, 9, 4_000_000),
        (2.5, None, None, 2_500_000),
        (None, 3.84, 9, 3_840_000),
        (None, "3.84", 9, 3_840_000),
        (None, "long", 9, 9),
        (None, float("nan"), 9, 9),
        (-1, True, 9, 9),
        (None, None, None, 0),
    ],
)
def test_seconds(reported: object, duration: object, sent: int | None, microseconds: int) -> None:
    shape = RequestShape(audio_us=sent)
    flaws: dict[str, None] = {}
    found = measures.seconds(reported, Envelope(duration=duration), shape, flaws)
    assert list(flaws) == ([notes.SECONDS_NOT_REPORTED] if microseconds == 9 else [])
    assert [q.quantity for q in found] == ([microseconds] if microseconds else [])
    assert all(q.metric is Metric.AUDIO_SECONDS for q in found)


def test_no_characters_are_no_quantity() -> None:
    assert measures.characters(RequestShape()) == []


def test_images_without_an_answer_are_those_asked_for() -> None:
    (quantity,) = measures.images(None, RequestShape(n=3, size="512x512", quality="hd"))
    assert (quantity.type, quantity.quantity) == ("hd/512x512", 3)
