"""Requests that ask for an upgrade that nobody wants: HTTP/1.1 goes on (RFC 9110, section 7.8).

httptools takes every upgrade for granted: it calls a request complete with its head, and leaves
what follows to another protocol. Where there is none, another parser reads on, by the framing that
the head announced (RFC 9112, section 6.3).
"""

from typing import Final, Protocol

import httptools

from proxy.wire.headers import RequestHead

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class ParserEvents(Protocol):
    """Who is told what a parser reads."""

    def on_message_begin(self) -> None:
        """A request begins."""

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""

    def on_headers_complete(self) -> None:
        """The head is whole."""

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""

    def on_message_complete(self) -> None:
        """The request is whole."""


def parser_past(head: RequestHead, events: ParserEvents) -> httptools.HttpRequestParser:
    """Return a parser that goes on after ``head``; ``events`` have had the head already.

    If there is no body, the request is complete on return. Raises HttpParserError where the
    framing is refused.
    """
    lines = [b"%b: %b\r\n" % pair for pair in head.headers if pair[0].lower() in _FRAMING]
    parser = httptools.HttpRequestParser(_Past(events))
    parser.feed_data(b"POST / HTTP/1.%d\r\n%b\r\n" % (head.http_minor, b"".join(lines)))
    return parser


class _Past:
    """Keeps the first head that is read to itself."""

    def __init__(self, events: ParserEvents) -> None:
        self._events = events
        self._past = False
        self.on_body = events.on_body
        self.on_message_complete = events.on_message_complete

    def on_message_begin(self) -> None:
        """Pass it on."""
        if self._past:
            self._events.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Pass it on."""
        if self._past:
            self._events.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Pass it on."""
        if self._past:
            self._events.on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass it on; the first is where reading begins."""
        if self._past:
            self._events.on_headers_complete()
        self._past = True
