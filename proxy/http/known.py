"""The head of a connection's last request: most clients send the same one again."""

from typing import Any

import httptools

from proxy.wire.headers import Headers, RequestHead


class KnownHead:
    """Remembers headers by all but the length, the target, and what was worked out of them."""

    __slots__ = ("_fields", "_headers", "_length_at", "_memo", "_target", "_url")

    def __init__(self) -> None:
        self._headers: Headers = []
        self._fields: dict[bytes, bytes] = {}
        self._memo: dict[object, Any] = {}
        self._length_at = -1
        self._url = b"/"
        self._target = ("/", "")

    def head(
        self, parser: httptools.HttpRequestParser, url: bytes, headers: Headers
    ) -> RequestHead:
        """Return the head that ``parser`` has just read; httptools' errors where it is none."""
        fields, memo, length = self.look_up(headers)
        path, query = self.target(url)
        return RequestHead(
            method=parser.get_method().decode("ascii"),
            path=path,
            query=query,
            headers=headers,
            fields=fields,
            http_minor=0 if parser.get_http_version() == "1.0" else 1,
            content_length=length,
            length_unknown=b"transfer-encoding" in fields,
            upgrade=parser.should_upgrade(),
            memo=memo,
        )

    def target(self, url: bytes) -> tuple[str, str]:
        """Return a target's path and query; httptools' errors where it is none."""
        if url != self._url:
            path, _, query = url.partition(b"?")
            if not path.startswith(b"/"):
                # a whole address, as proxies are sent it
                path = httptools.parse_url(url).path or b"/"
            self._target = path.decode("latin-1"), query.decode("latin-1")
            self._url = url
        return self._target

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
