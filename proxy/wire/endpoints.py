"""The endpoints that are known: how each is metered, and which event completes its answer.

To add an endpoint is to add a row. What is in no row is forwarded in passthrough and recorded
as a request without usage; in managed mode it is closed.

Source: OpenAI's OpenAPI description and SDK, Anthropic's ``/v1/messages``, and Azure's paths
(``/openai/deployments/{deployment}/…``), which name the same operations.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import msgspec


class Metering(StrEnum):
    """How an endpoint's usage is found."""

    TOKENS = "tokens"
    """Tokens in the answer's usage."""
    IMAGES = "images"
    """Tokens in the usage; without any, the images by quality and size."""
    SPEECH = "speech"
    """Tokens in the usage of the last event; otherwise the characters of the request."""
    AUDIO = "audio"
    """Tokens or seconds in the usage; otherwise the length of the audio."""
    BATCH = "batch"
    """Tokens in the usage once the batch is at its end, at the batch tier."""
    SESSION = "session"
    """A WebSocket: each message may carry the usage of one answer."""
    FREE = "free"
    """Metered as a request; nothing is billed."""
    NEVER = "never"
    """A read, which repeats old usage, or a write that uses nothing."""


class Modality(StrEnum):
    """What a side of the answer is made of where its usage does not say."""

    TEXT = "text"
    AUDIO = "audio"
    IMAGE = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One operation of the upstream's API.

    ``path`` is under ``/v1``, with ``{…}`` for one variable segment. ``completing`` are the types
    of the events that complete a streamed answer; so does ``[DONE]``, everywhere. Without either,
    the end of the body does.

    ``injects``: ``stream_options.include_usage`` may be asked for on the client's behalf.
    ``managed``: open in managed mode; ``guarded``: there only without storing anything and
    without referring to anything stored. ``deferred``: the answer may come before the usage.
    ``merges``: usage is merged per field over the events, instead of the last one winning.

    ``objects``: it makes, or its path names, an object of the upstream's that outlives the call.
    ``made_by`` is then the operation that makes what the path names; ``shows``: the answer is that
    object. In managed mode only who made it may name it.
    """

    name: str
    method: str = "POST"
    path: str
    metering: Metering = Metering.TOKENS
    completing: frozenset[bytes] = frozenset()
    injects: bool = False
    managed: bool = False
    guarded: bool = False
    deferred: bool = False
    merges: bool = False
    socket: bool = False
    objects: bool = False
    made_by: "Endpoint | None" = None
    shows: bool = False
    input_modality: Modality = Modality.TEXT
    output_modality: Modality = Modality.TEXT

    def completes(self, data: bytes, name: bytes = b"") -> bool:
        """Tell whether an event (its data, its ``event:`` name if any) completes the answer."""
        if data.startswith(b"[DONE]"):
            return True
        if name or not self.completing:
            return name in self.completing
        marked = any(b'"%b"' % event in data for event in self.completing)
        return marked and _type_of(data) in self.completing


class _Typed(msgspec.Struct, gc=False):
    type: str = ""


_TYPED: Final = msgspec.json.Decoder(_Typed)


def _type_of(data: bytes) -> bytes:
    """Return the ``type`` member of an event's data, or nothing."""
    try:
        return _TYPED.decode(data).type.encode()
    except (msgspec.MsgspecError, RecursionError):
        return b""


# Not "error": "response.failed" follows it, and may carry usage.
_RESPONSE_ENDS: Final = frozenset(
    {b"response.completed", b"response.incomplete", b"response.failed"}
)
_RUN_ENDS: Final = frozenset({b"done"})

CHAT_COMPLETIONS: Final = Endpoint(
    name="chat.completions",
    path="/v1/chat/completions",
    injects=True,
    managed=True,
    guarded=True,
)
COMPLETIONS: Final = Endpoint(
    name="completions",
    path="/v1/completions",
    injects=True,
    managed=True,
)
RESPONSES: Final = Endpoint(
    name="responses",
    path="/v1/responses",
    completing=_RESPONSE_ENDS,
    managed=True,
    guarded=True,
    deferred=True,
    objects=True,
)
MESSAGES: Final = Endpoint(
    name="messages",
    path="/v1/messages",
    completing=frozenset({b"message_stop", b"error"}),
    managed=True,
    guarded=True,
    merges=True,
)
BATCHES: Final = Endpoint(
    name="batches", path="/v1/batches", metering=Metering.BATCH, deferred=True, objects=True
)
REALTIME: Final = Endpoint(
    name="realtime",
    method="GET",
    path="/v1/realtime",
    metering=Metering.SESSION,
    managed=True,
    socket=True,
)
RESPONSES_SOCKET: Final = Endpoint(
    name="responses.socket",
    method="GET",
    path="/v1/responses",
    metering=Metering.SESSION,
    managed=True,
    socket=True,
)

_IMAGES: Final = Endpoint(
    name="images.generations",
    path="/v1/images/generations",
    metering=Metering.IMAGES,
    # The first is the only one: several images at once are refused as a stream (OpenAI, Azure:
    # "Streaming is only supported with n=1"), or end in one event with the usage of all (MiniMax).
    completing=frozenset({b"image_generation.completed", b"error"}),
    managed=True,
    output_modality=Modality.IMAGE,
)
TRANSCRIPTIONS: Final = Endpoint(
    name="audio.transcriptions",
    path="/v1/audio/transcriptions",
    metering=Metering.AUDIO,
    completing=frozenset({b"transcript.text.done", b"error"}),
    managed=True,
    input_modality=Modality.AUDIO,
)
RUNS: Final = Endpoint(
    name="threads.runs",
    path="/v1/threads/{thread}/runs",
    completing=_RUN_ENDS,
    deferred=True,
    objects=True,
)
CREATE_AND_RUN: Final = replace(RUNS, name="threads.create_and_run", path="/v1/threads/runs")


def _never(name: str, method: str, path: str, *, managed: bool = False) -> Endpoint:
    return Endpoint(name=name, method=method, path=path, metering=Metering.NEVER, managed=managed)


def _object(
    method: str, path: str, made_by: Endpoint, name: str, *, shows: bool = True
) -> Endpoint:
    """Make the row of an operation on an object that another operation made."""
    return Endpoint(
        name=f"{made_by.name}.{name}",
        method=method,
        path=path,
        metering=Metering.NEVER,
        objects=True,
        managed=made_by.managed,
        made_by=made_by,
        shows=shows,
    )


MODELS: Final = _never("models", "GET", "/v1/models", managed=True)
MODEL: Final = _never("models.get", "GET", "/v1/models/{model}", managed=True)

ENDPOINTS: Final = (
    CHAT_COMPLETIONS,
    COMPLETIONS,
    RESPONSES,
    MESSAGES,
    BATCHES,
    REALTIME,
    RESPONSES_SOCKET,
    Endpoint(name="embeddings", path="/v1/embeddings", managed=True),
    Endpoint(name="moderations", path="/v1/moderations", metering=Metering.FREE, managed=True),
    Endpoint(name="responses.compact", path="/v1/responses/compact", guarded=True),
    Endpoint(
        name="responses.input_tokens", path="/v1/responses/input_tokens", metering=Metering.FREE
    ),
    Endpoint(
        name="messages.count_tokens", path="/v1/messages/count_tokens", metering=Metering.FREE
    ),
    _IMAGES,
    replace(
        _IMAGES,
        name="images.edits",
        path="/v1/images/edits",
        completing=frozenset({b"image_edit.completed", b"error"}),
        guarded=True,
    ),
    replace(
        _IMAGES,
        name="images.variations",
        path="/v1/images/variations",
        completing=frozenset(),
    ),
    Endpoint(
        name="audio.speech",
        path="/v1/audio/speech",
        metering=Metering.SPEECH,
        completing=frozenset({b"speech.audio.done", b"error"}),
        managed=True,
        output_modality=Modality.AUDIO,
    ),
    TRANSCRIPTIONS,
    replace(
        TRANSCRIPTIONS,
        name="audio.translations",
        path="/v1/audio/translations",
        completing=frozenset(),
    ),
    RUNS,
    CREATE_AND_RUN,
    MODELS,
    MODEL,
    _never("chat.completions.list", "GET", "/v1/chat/completions"),
    _never("chat.completions.get", "GET", "/v1/chat/completions/{completion}"),
    _never("chat.completions.update", "POST", "/v1/chat/completions/{completion}"),
    _never("chat.completions.delete", "DELETE", "/v1/chat/completions/{completion}"),
    _object("GET", "/v1/responses/{response}", RESPONSES, "get"),
    _object("DELETE", "/v1/responses/{response}", RESPONSES, "delete", shows=False),
    _object("POST", "/v1/responses/{response}/cancel", RESPONSES, "cancel"),
    _object("GET", "/v1/responses/{response}/input_items", RESPONSES, "input_items", shows=False),
    _never("batches.list", "GET", "/v1/batches"),
    _object("GET", "/v1/batches/{batch}", BATCHES, "get"),
    _object("POST", "/v1/batches/{batch}/cancel", BATCHES, "cancel"),
    _object("GET", "/v1/threads/{thread}/runs/{run}", RUNS, "get"),
    _object("POST", "/v1/threads/{thread}/runs/{run}/cancel", RUNS, "cancel"),
    _object("POST", "/v1/threads/{thread}/runs/{run}/submit_tool_outputs", RUNS, "continue"),
)
"""Every row; the order does not matter: no two match the same method and path."""

_ASKED_BY_HEAD: Final = (MODELS, MODEL)
"""What may be asked for without its body, too."""

_DEPLOYMENTS: Final = "/openai/deployments/"

_EXACT: Final = {(row.method, row.path): row for row in ENDPOINTS if "{" not in row.path}
_PATTERNS: Final = tuple((row, row.path.split("/")) for row in ENDPOINTS if "{" in row.path)


def endpoint_for(method: str, path: str) -> Endpoint | None:
    """Return the endpoint of a request, or None if it is in no row.

    ``path`` may carry a query and be Azure's. A path with an odd spelling (escapes, doubled
    slashes) is in no row: nothing is opened that the upstream might read differently.
    """
    exact = _EXACT.get((method, path))
    if exact is not None:
        return exact
    plain = under_v1(path.partition("?")[0])
    if method == "HEAD":
        found = _EXACT.get(("GET", plain)) or _by_pattern("GET", plain)
        return found if found in _ASKED_BY_HEAD else None
    return _EXACT.get((method, plain)) or _by_pattern(method, plain)


def azure_deployment(path: str) -> str | None:
    """Return the deployment that an Azure path names: it stands for the requested model."""
    if not path.startswith(_DEPLOYMENTS):
        return None
    return path[len(_DEPLOYMENTS) :].partition("/")[0] or None


def named_object(endpoint: Endpoint, path: str) -> str:
    """Return the id in a path that :func:`endpoint_for` found: its last variable segment."""
    segments = under_v1(path).split("/")
    pattern = endpoint.path.split("/")
    return next(
        (
            segment
            for expected, segment in zip(reversed(pattern), reversed(segments), strict=True)
            if expected.startswith("{")
        ),
        "",
    )


def under_v1(path: str) -> str:
    """Write Azure's spellings of a path, and one with a slash at its end, as OpenAI's."""
    if path.startswith(_DEPLOYMENTS):
        path = "/v1/" + path[len(_DEPLOYMENTS) :].partition("/")[2]
    elif path.startswith("/openai/v1/"):
        path = path.removeprefix("/openai")
    elif path.startswith("/openai/"):
        path = "/v1" + path.removeprefix("/openai")
    return path.removesuffix("/")


def _by_pattern(method: str, path: str) -> Endpoint | None:
    segments = path.split("/")
    for row, pattern in _PATTERNS:
        if row.method == method and len(pattern) == len(segments) and _fits(pattern, segments):
            return row
    return None


def _fits(pattern: list[str], segments: list[str]) -> bool:
    return all(
        segment not in {"", ".", ".."} if expected.startswith("{") else segment == expected
        for expected, segment in zip(pattern[1:], segments[1:], strict=True)
    )
