"""Content encodings that we can undo, within bounds (RFC 9110, section 8.4.1)."""

import zlib
from typing import Protocol

MAX_DECODED_BYTES = 128 * 1024 * 1024
"""What one answer may decode to: beyond that it passes unread (a decompression bomb)."""


class Decoder(Protocol):
    """Undoes one content encoding, piece by piece; what can't be decoded comes out as nothing."""

    def feed(self, data: bytes) -> bytes:
        """Return what ``data`` decodes to."""


class _Zlib:
    """gzip and deflate; deflate is sent with and without zlib's header."""

    def __init__(self, window_bits: int) -> None:
        self._decoder = zlib.decompressobj(window_bits)
        self._first = window_bits == zlib.MAX_WBITS
        self._room = MAX_DECODED_BYTES

    def feed(self, data: bytes) -> bytes:
        if self._room <= 0:
            return b""
        try:
            plain = self._decoder.decompress(data, self._room)
        except zlib.error:
            if not self._first:
                self._room = 0
                return b""
            self._first = False
            self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
            return self.feed(data)
        self._first = False
        self._room -= len(plain)
        return plain


def decoder_for(content_encoding: bytes) -> Decoder | None:
    """Return a decoder, or None where there is nothing to undo (or nothing that we could)."""
    name = content_encoding.strip().lower()
    if name in {b"gzip", b"x-gzip"}:
        return _Zlib(16 + zlib.MAX_WBITS)
    if name == b"deflate":
        return _Zlib(zlib.MAX_WBITS)
    return None


def is_encoded(content_encoding: bytes) -> bool:
    """Whether a body with this header is anything but itself."""
    return content_encoding.strip().lower() not in {b"", b"identity"}
