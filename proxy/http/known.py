"""The headers of a connection's last request: most clients send the same ones again."""

from typing import Any

from proxy.wire.headers import Headers


class KnownHeaders:
    """Remembers headers by all but the length, and what was worked out of them."""

    __slots__ = ("_fields", "_headers", "_length_at", "_memo")

    def __init__(self) -> None:
        self._headers: Headers = []
        self._fields: dict[bytes, bytes] = {}
        self._memo: dict[object, Any] = {}
        self._length_at = -1

    def look_up(self, headers: Headers) -> tuple[dict[bytes, bytes], dict[object, Any], int | None]:
        """Return fields and memo, the last request's if its headers were the same; the length."""
        at = self._length_at
        if not self._same(headers, at):
            self._headers = headers
            self._fields = {name.lower(): value for name, value in headers}
            self._memo = {}
            lengths = (
                n for n, (name, _) in enumerate(headers) if name.lower() == b"content-length"
            )
            at = self._length_at = next(lengths, -1)
        return self._fields, self._memo, None if at < 0 else int(headers[at][1])

    def _same(self, headers: Headers, at: int) -> bool:
        last = self._headers
        if len(headers) != len(last) or at >= len(last):
            return False
        if at < 0:
            return headers == last
        return (
            headers[at][0] == last[at][0]
            and headers[:at] == last[:at]
            and headers[at + 1 :] == last[at + 1 :]
        )
