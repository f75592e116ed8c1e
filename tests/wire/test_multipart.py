"""Forms, cut anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.multipart import (
    FIELD_BYTES_MAX,
    HEAD_BYTES,
    PARTS_MAX,
    TAIL_BYTES,
    MultipartReader,
    Sample,
    boundary_of,
)

BOUNDARY = b"xYz"


def form(*parts: tuple[str, bytes], end: bytes = b"--\r\n") -> bytes:
    pieces = [b"--xYz\r\n%b\r\n\r\n%b\r\n" % (head.encode(), content) for head, content in parts]
    return b"".join(pieces) + b"--xYz" + end


def field(name: str, value: bytes) -> tuple[str, bytes]:
    return f'Content-Disposition: form-data; name="{name}"', value


def file(content: bytes, name: str = "file") -> tuple[str, bytes]:
    head = f'Content-Disposition: form-data; name="{name}"; filename="a.mp3"'
    return f"{head}\r\nContent-Type: audio/mpeg", content


def read(body: bytes, *cuts: int, sampled: str = "file") -> MultipartReader:
    reader = MultipartReader(BOUNDARY, sampled=sampled)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        reader.feed(body[start:end])
    reader.finish()
    return reader


SAMPLE = form(field("model", b"whisper-1"), file(b"ID3\r\n--xY" * 30), field("n", b""))


def test_fields_and_files() -> None:
    reader = read(SAMPLE)
    assert reader.flaw is None
    assert [part.name for part in reader.parts] == ["model", "file", "n"]
    assert reader.fields("model") == ["whisper-1"]
    assert reader.fields("n") == [""]
    assert reader.fields("file") == []
    assert reader.parts[1].filename == "a.mp3"
    assert reader.parts[1].size == 9 * 30
    sample = reader.sample()
    assert sample == Sample.of(b"ID3\r\n--xY" * 30)


@given(st.lists(st.integers(0, len(SAMPLE)), max_size=12))
def test_cuts_change_nothing(cuts: list[int]) -> None:
    whole, cut = read(SAMPLE), read(SAMPLE, *cuts)
    assert (cut.parts, cut.flaw) == (whole.parts, whole.flaw)


def test_byte_by_byte() -> None:
    assert read(SAMPLE, *range(len(SAMPLE))).parts == read(SAMPLE).parts


@given(st.binary(max_size=300).filter(lambda content: b"\r\n--xYz" not in content))
def test_content_is_what_was_sent(content: bytes) -> None:
    reader = read(form(field("prompt", content)), 20, 90, 200)
    (part,) = reader.parts
    assert (part.value, part.size) == (content, len(content))


def test_large_files_leave_little() -> None:
    content = bytes(range(256)) * 4096 * 5
    body = form(field("model", b"m"), file(content))
    reader = read(body, *range(0, len(body), 100_000))
    sample = reader.sample()
    assert sample is not None
    assert (sample.head, sample.tail) == (content[:HEAD_BYTES], content[-TAIL_BYTES:])
    assert sample.size == len(content)
    unsampled = read(form(file(content, "image")))
    assert unsampled.sample() is None
    assert unsampled.parts[0].value == b""


def test_long_fields_are_bounded() -> None:
    reader = read(form(field("prompt", b"x" * 100_000)), 5000, 9000)
    (part,) = reader.parts
    assert (len(part.value), part.size) == (FIELD_BYTES_MAX + 1, 100_000)


@pytest.mark.parametrize(
    ("body", "flaw"),
    [
        (b"text" + SAMPLE, "before its first part"),
        (b"x" * 500, "before its first part"),
        (SAMPLE + b"text", "after its last part"),
        (form(field("model", b"m"), end=b""), "not closed"),
        (form(field("model", b"m"), end=b" x\r\n"), "more than the boundary"),
        (b"--xYz" + b"x" * 20_000, "more than the boundary"),
        (b"--xYz\r\n" + b"x" * 20_000, "head is too long"),
        (form(*[field("a", b"")] * (PARTS_MAX + 1)), "more than"),
        (form(("Content-Disposition: form-data", b"")), "name"),
        (form(('Content-Disposition: form-data; name="a"; name="b"', b"")), "name"),
        (form(("Content-Disposition: form-data; name*=utf-8''model; name=a", b"")), "name"),
        (form(('Content-Disposition: form-data; name="mod\\el"', b"")), "name"),
        (form(('Content-Disposition: form-data; name="mod%65l"', b"")), "name"),
        (form(("no colon here", b"")), "malformed"),
        (form(("A: b\r\n folded", b"")), "malformed"),
        (form((field("a", b"")[0] + "\r\nContent-Transfer-Encoding: base64", b"")), "Encoding"),
        (b"--xYz\r\n%b\r\n\r\n--xYz--" % field("a", b"")[0].encode(), "where content should"),
    ],
)  # fmt: skip
def test_flaws(body: bytes, flaw: str) -> None:
    found = read(body, 3, 40).flaw
    assert found is not None
    assert flaw in found


def test_what_is_no_text_is_empty() -> None:
    assert read(form(field("model", b"\xff\xfe"))).fields("model") == [""]


@given(st.lists(st.sampled_from([b"--xYz", b"\r\n", b"--", b"a: b", b"name=x", b"q" * 30])))
def test_any_bytes_never_raise(pieces: list[bytes]) -> None:
    reader = MultipartReader(BOUNDARY, sampled="file")
    for piece in pieces:
        reader.feed(piece)
    reader.finish()


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data; charset=utf-8; boundary="a b"', b"a b"),
        (b"multipart/form-data", None),
        (b"multipart/form-data; boundary=a; boundary=b", None),
        (b"multipart/form-data; boundary=" + b"x" * 71, None),
        (b"multipart/mixed; boundary=a", None),
        (b"application/json", None),
        (b"", None),
    ],
)
def test_boundary(content_type: bytes, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary
