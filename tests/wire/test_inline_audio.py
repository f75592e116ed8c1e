"""Audio in JSON: how much it is, whichever way it is written and cut."""

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.inline_audio import Speech, SpeechReader, inline_sample
from proxy.wire.multipart import HEAD_BYTES, TAIL_BYTES, Sample
from tests.wire.audio_files import wav


def written(content: bytes) -> str:
    return base64.b64encode(content).decode()


def spoken(*pieces: str) -> Speech:
    reader = SpeechReader()
    for piece in pieces:
        reader.piece(piece)
    return reader.speech()


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_pieces_that_are_each_base64_of_their_own(pieces: list[bytes]) -> None:
    assert spoken(*map(written, pieces)) == Speech(size=sum(map(len, pieces)))


@given(st.binary(max_size=40), st.lists(st.integers(0, 60), max_size=5))
def test_base64_that_runs_through_its_pieces(content: bytes, cuts: list[int]) -> None:
    text = written(content).rstrip("=")
    ends = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(ends)]
    assert spoken(*pieces) == Speech(size=len(content))


def test_a_file_that_comes_whole_tells_its_length() -> None:
    reader = SpeechReader()
    content = wav(1.5)
    reader.whole(written(content))
    assert reader.speech() == Speech(size=len(content), length_us=1_500_000)


@pytest.mark.parametrize("data", ["%", "A", "[removed]", "é"])
def test_what_is_no_audio_has_no_length(data: str) -> None:
    reader = SpeechReader()
    reader.whole(data)
    assert reader.speech().length_us is None


@pytest.mark.parametrize("size", [0, 1, 2, 3, HEAD_BYTES + TAIL_BYTES, 2_000_000, 2_000_001])
def test_a_sample_is_as_of_the_decoded_file(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    assert inline_sample(written(content[:size])) == Sample.of(content[:size])


def test_base64_may_be_broken_into_lines() -> None:
    content = bytes(range(256)) * 8_000
    assert inline_sample(base64.encodebytes(content).decode()) == Sample.of(content)


def test_a_data_url_is_read_as_well() -> None:
    assert inline_sample(f"data:audio/wav;base64,{written(b'Hello')}") == Sample.of(b"Hello")


@pytest.mark.parametrize("data", ["A", "é", "A" * 1_999_999, "é" * 2_000_000])
def test_what_is_no_base64_has_no_sample(data: str) -> None:
    assert inline_sample(data) is None
