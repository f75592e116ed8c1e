"""Content encodings that we can undo, within bounds (RFC 9110, section 8.4.1)."""

import zlib
from typing import Protocol

MAX_DECODED_BYTES = 128 * 1024 * 1024
"""What one answer may decode to: beyond that it passes unread (a decompression bomb)."""

_ZLIB_HEADER_BYTES = 2


class Decoder(Protocol):
    """Undoes one content encoding, piece by piece; what can't be decoded comes out as nothing."""

    def feed(self, data: bytes) -> bytes:
        """Return what ``data`` decodes to."""

    @property
    def whole(self) -> bool:
        """Whether all that came could be decoded, and nothing is missing."""


class _Zlib:
    """Undoes what zlib can; ``window_bits`` are the module's. A bound of bytes, then nothing."""

    def __init__(self, window_bits: int, room: int) -> None:
        self._window_bits = window_bits
        self._decoder = zlib.decompressobj(window_bits)
        self._room = room

    def feed(self, data: bytes) -> bytes:
        plain = b""
        while data and self._room > 0:
            if self._decoder.eof:  # gzip may be several in a row (RFC 1952, section 2.2)
                self._decoder = zlib.decompressobj(self._window_bits)
            try:
                part = self._decoder.decompress(data, self._room)
            except zlib.error:
                self._room = 0
                return plain
            self._room -= len(part)
            plain = plain + part if plain else part
            data = self._decoder.unused_data
        return plain

    @property
    def whole(self) -> bool:
        """Whether all that came made sense, and nothing is missing."""
        return self._decoder.eof and self._room > 0


class _Deflate:
    """deflate, with zlib's header as it should be, or without: its bytes tell (RFC 1950)."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._decoder: _Zlib | None = None
        self._first = b""

    def feed(self, data: bytes) -> bytes:
        if self._decoder is not None:
            return self._decoder.feed(data)
        self._first += data
        if len(self._first) < _ZLIB_HEADER_BYTES:
            return b""
        headed = self._first[0] & 0x0F == zlib.DEFLATED
        headed = headed and int.from_bytes(self._first[:_ZLIB_HEADER_BYTES], "big") % 31 == 0
        bits = zlib.MAX_WBITS if headed else -zlib.MAX_WBITS
        self._decoder = _Zlib(bits, self._room)
        return self._decoder.feed(self._first)

    @property
    def whole(self) -> bool:
        return self._decoder is not None and self._decoder.whole


def decoder_for(content_encoding: bytes, room: int = MAX_DECODED_BYTES) -> Decoder | None:
    """Return a decoder, or None where there is nothing to undo (or nothing that we could).

    ``room``: after that many bytes it gives no more.
    """
    name = content_encoding.strip().lower()
    if name in {b"gzip", b"x-gzip"}:
        return _Zlib(16 + zlib.MAX_WBITS, room)
    if name == b"deflate":
        return _Deflate(room)
    return None


def is_encoded(content_encoding: bytes) -> bool:
    """Whether a body with this header is anything but itself."""
    return content_encoding != b"" and content_encoding.strip().lower() not in {b"", b"identity"}


def decode_whole(data: bytes, content_encoding: bytes, limit: int) -> bytes | None:
    """Return a whole body decoded; None where it can't be, or is over ``limit`` bytes."""
    decoder = decoder_for(content_encoding, limit + 1)
    if decoder is None:
        return None
    plain = decoder.feed(data)
    return plain if plain and decoder.whole else None
