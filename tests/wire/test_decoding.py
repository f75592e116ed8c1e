"""Content encodings, cut anywhere, within bounds."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.decoding import decode_whole, decoder_for, is_encoded
from tests.wire.streams import cut, halves

TEXT = b"data: {}\n\n" * 7
places = st.lists(st.integers(0, 1 << 16), max_size=8)


def deflated(data: bytes, *, header: bool) -> bytes:
    return zlib.compress(data, wbits=zlib.MAX_WBITS if header else -zlib.MAX_WBITS)


ENCODED = [
    (b"gzip", gzip.compress(TEXT, mtime=0)),
    (b" X-GZip ", gzip.compress(TEXT, mtime=0)),
    (
        b"gzip",
        gzip.compress(TEXT[:9], mtime=0)
        + gzip.compress(b"", mtime=0)
        + gzip.compress(TEXT[9:], mtime=0),
    ),
    (b"deflate", deflated(TEXT, header=True)),
    (b"Deflate", deflated(TEXT, header=False)),
]


def decoded(name: bytes, pieces: list[bytes], room: int = 1 << 20) -> bytes:
    decoder = decoder_for(name, room)
    assert decoder is not None
    return b"".join([decoder.feed(piece) for piece in pieces])


@pytest.mark.parametrize(("name", "data"), ENCODED)
def test_every_cut(name: bytes, data: bytes) -> None:
    for pieces in [[data], *halves(data), [bytes([byte]) for byte in data]]:
        assert decoded(name, pieces) == TEXT
    assert decode_whole(data, name, len(TEXT)) == TEXT


@given(data=st.binary(max_size=300), header=st.booleans(), at=places)
def test_deflate_with_and_without_its_header(data: bytes, header: bool, at: list[int]) -> None:
    assert decoded(b"deflate", cut(deflated(data, header=header), at)) == data


@given(data=st.binary(max_size=100), name=st.sampled_from([b"gzip", b"deflate"]), at=places)
def test_garbage_never_raises(data: bytes, name: bytes, at: list[int]) -> None:
    decoded(name, cut(data, at))
    decode_whole(data, name, 100)


@pytest.mark.parametrize(("name", "data"), ENCODED)
def test_it_gives_no_more_than_it_may(name: bytes, data: bytes) -> None:
    assert decoded(name, [data, data], room=10) == TEXT[:10]
    assert decode_whole(data, name, len(TEXT) - 1) is None


def test_what_came_before_the_damage_is_given() -> None:
    data = gzip.compress(TEXT, mtime=0)
    assert decoded(b"gzip", [data + b"damage", data]) == TEXT
    assert decoded(b"gzip", [b"damage", data]) == b""


@pytest.mark.parametrize("name", [b"br", b"zstd", b"identity", b"", b"gzip, br", b"gzip, gzip"])
def test_what_can_not_be_undone(name: bytes) -> None:
    assert decoder_for(name) is None
    assert decode_whole(b"x", name, 10) is None


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (b"gzip", gzip.compress(TEXT, mtime=0)[:-1]),
        (b"gzip", gzip.compress(TEXT, mtime=0) + b"x"),
        (b"gzip", b"plain"),
        (b"gzip", gzip.compress(b"", mtime=0)),
        (b"gzip", b""),
        (b"deflate", b""),
        (b"deflate", b"x"),
        (b"deflate", deflated(TEXT, header=True)[:-1]),
        (b"deflate", b"plain"),
    ],
)
def test_half_a_body_is_none(name: bytes, data: bytes) -> None:
    assert decode_whole(data, name, 1000) is None
    decoder = decoder_for(name)
    assert decoder is not None
    assert not decoder.whole


@pytest.mark.parametrize(
    ("name", "expected"),
    [(b"", False), (b" Identity ", False), (b"gzip", True), (b"br", True), (b"gzip, br", True)],
)
def test_is_encoded(name: bytes, expected: bool) -> None:
    assert is_encoded(name) is expected
