"""What is read of a request's body before it goes up, and what managed mode refuses of it."""

import msgspec

from proxy.errors import UnreadableBodyError
from proxy.http.exchange import Exchange
from proxy.wire.decoding import decode_whole, is_encoded
from proxy.wire.endpoints import CHAT_COMPLETIONS, Endpoint, Metering
from proxy.wire.guard import guarded, refuse_references
from proxy.wire.headers import RequestHead
from proxy.wire.multipart import boundary_of
from proxy.wire.request import NO_FACTS, RequestFacts, read_facts
from proxy.wire.request_shape import SHAPED, FormReader, json_shape
from proxy.wire.usage import RequestShape


class ReadBody(msgspec.Struct, kw_only=True):
    """A request's body as it goes up; ``body`` is None where it is streamed through.

    ``plain`` is what it says where the client has compressed it, otherwise None. ``ours``: it is
    written anew, without the client's content encoding. ``shape`` is None where the model's name is
    all of it. ``form`` taps a streamed form on its way.
    """

    body: bytes | None
    plain: bytes | None = None
    facts: RequestFacts = NO_FACTS
    ours: bool = False
    shape: RequestShape | None = None
    form: FormReader | None = None


class BodyReader:
    """Reads bodies, as far as metering and the guard need it.

    ``max_body_bytes`` bounds those that are read whole, ``max_upload_bytes`` those that are
    streamed through.
    """

    def __init__(self, *, managed: bool, max_body_bytes: int, max_upload_bytes: int) -> None:
        self._managed = managed
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes

    async def read(self, exchange: Exchange, endpoint: Endpoint | None) -> ReadBody:
        """Read the body if metering needs it; otherwise it is streamed through.

        Errors: what :meth:`Exchange.body` raises, UnreadableBodyError, BadRequestError.
        """
        head = exchange.head
        if not head.length_unknown and not head.content_length:
            return ReadBody(body=b"")
        content_type = head.fields.get(b"content-type", b"")
        is_json = content_type.lower().startswith(b"application/json")
        if not self._managed and not (_is_metered(endpoint) and (is_json or _is_text(endpoint))):
            exchange.refuse_larger(self._max_upload_bytes)
            return ReadBody(body=None, form=_tap(endpoint, head, content_type))
        body = await exchange.body(self._max_body_bytes)
        plain = self.plain(head, body)
        if not is_json and _is_shaped(endpoint):
            boundary = boundary_of(content_type)
            if boundary is not None:
                return _read_form(body, plain, boundary)
        facts = read_facts(plain, strict=self._managed)
        read = ReadBody(body=body, plain=None if plain is body else plain, facts=facts)
        if endpoint is not None:
            if self._managed and (endpoint.guarded or _is_shaped(endpoint)):
                allowed = guarded(endpoint, facts, plain)
                if allowed is not plain:
                    read.body, read.ours = allowed, True
            if endpoint is not CHAT_COMPLETIONS and _is_shaped(endpoint):
                read.shape = json_shape(endpoint, facts, plain)
        return read

    def plain(self, head: RequestHead, body: bytes) -> bytes:
        """Return a body as its JSON is written; clients may compress it."""
        encoding = head.fields.get(b"content-encoding", b"")
        if not is_encoded(encoding):
            return body
        plain = decode_whole(body, encoding, self._max_body_bytes)
        if plain is None and self._managed:
            raise UnreadableBodyError(
                "The request body's Content-Encoding can't be undone within the limit. Send it "
                "as it is, or compressed with gzip or deflate."
            )
        return plain or b""


def _read_form(body: bytes, plain: bytes, boundary: bytes) -> ReadBody:
    """Read a form that is at hand (managed mode)."""
    form = FormReader(boundary)
    form.feed(plain)
    form.finish()
    form.refuse_ambiguity()
    refuse_references(form.references())
    return ReadBody(body=body, facts=form.facts(), shape=form.shape())


def _tap(endpoint: Endpoint | None, head: RequestHead, content_type: bytes) -> FormReader | None:
    if not _is_shaped(endpoint) or is_encoded(head.fields.get(b"content-encoding", b"")):
        return None
    boundary = boundary_of(content_type)
    return None if boundary is None else FormReader(boundary)


def _is_metered(endpoint: Endpoint | None) -> bool:
    return endpoint is not None and endpoint.metering is not Metering.NEVER


def _is_text(endpoint: Endpoint | None) -> bool:
    """Tell whether its bodies are JSON, whatever they are called: many upstreams do not mind."""
    return endpoint is not None and endpoint.metering is Metering.TOKENS


def _is_shaped(endpoint: Endpoint | None) -> bool:
    # Chat and its like first: enumerations are slow to look up.
    if endpoint is None or endpoint.metering is Metering.TOKENS:
        return False
    return endpoint.metering in SHAPED
