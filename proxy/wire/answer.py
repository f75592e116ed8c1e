"""An answer on its way through: what may go on, what is held, and what was seen of its usage.

``feed`` returns what may be relayed now. The *completing event* (what makes an SDK return) and
all that follows it are held until the settlement is durable; ``take_held`` gives them out.
A frame that the next one may change ``waits`` for it; ``take_waiting`` gives it out as it is.
"""

from typing import Final, Protocol

from proxy.wire.answers import TEXT_MAX, AnswerReader
from proxy.wire.decoding import Decoder
from proxy.wire.endpoints import Endpoint
from proxy.wire.injected import FINGERPRINT, may_lack_moved, with_moved, without_null_usage
from proxy.wire.plain_chunk import PlainChunks
from proxy.wire.sse import FrameSplitter, payload
from proxy.wire.usage import UsageReader, is_injected_usage_chunk, is_running_usage_chunk

MAX_BODY_BYTES = 64 * 1024 * 1024
"""The largest answer body that is kept to be read for usage."""

END_BYTES: Final = 64 * 1024
"""How much is kept of a larger one: usage is mostly its last member."""

MAX_WAITING: Final = 128
"""So many finish chunks wait in a row: as many as OpenAI gives choices."""


class AnswerMeter(Protocol):
    """One answer's body, as it passes."""

    completed: bool
    """The completing event has been seen: nothing that comes later can change the usage."""
    waits: bool
    """Something was kept that could pass, but for what the next frame may tell of it."""

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the body; return what the client may have of it now."""

    def finish(self) -> None:
        """The body is over: read what is left."""

    def take_waiting(self) -> bytes:
        """Return what waits for the next frame: that is late, or will not come."""

    def take_held(self) -> bytes:
        """Return what was held back, once it may go on."""


class PassMeter:
    """An answer that can't be metered: it just passes."""

    completed = False
    waits = False

    def feed(self, data: bytes) -> bytes:
        """Let it pass."""
        return data

    def finish(self) -> None:
        """Nothing is left."""

    def take_waiting(self) -> bytes:
        """Nothing waits."""
        return b""

    def take_held(self) -> bytes:
        """Nothing is held."""
        return b""


class BodyMeter:
    """A whole JSON answer: read at its end, from a decoded copy; of one too long, the end alone."""

    completed = False
    waits = False

    def __init__(self, usage: UsageReader, answers: AnswerReader, decoder: Decoder | None) -> None:
        self._usage = usage
        self._answers = answers
        self._decoder = decoder
        self._pieces: list[bytes] = []
        self._room = MAX_BODY_BYTES

    def feed(self, data: bytes) -> bytes:
        """Let it pass, and keep a copy."""
        plain = data if self._decoder is None else self._decoder.feed(data)
        self._room -= len(plain)
        self._pieces.append(plain)
        if self._room < 0:
            self._keep_the_end()
        return data

    def _keep_the_end(self) -> None:
        kept: list[bytes] = []
        missing = END_BYTES
        while self._pieces and missing > 0:
            kept.append(self._pieces.pop())
            missing -= len(kept[-1])
        kept.reverse()
        self._pieces = [b"".join(kept)[-END_BYTES:]]

    def finish(self) -> None:
        """Read the usage; the text only if there is none."""
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._room < 0:
            self._usage.ending(body)
            self._answers.cut()
            return
        self._usage.json(body)
        if self._usage.usage() is None:
            self._answers.json(body)

    def take_waiting(self) -> bytes:
        """Nothing waits."""
        return b""

    def take_held(self) -> bytes:
        """Nothing is held here: the end of the body is held by its framing."""
        return b""


class StreamMeter:
    """Server-sent events, as they pass; ``hide`` takes out the usage that we asked for.

    It stops hiding where the upstream turns out to report running usage of its own accord.
    """

    __slots__ = (
        "_answers",
        "_between_frames",
        "_completes",
        "_decoder",
        "_edits",
        "_held",
        "_hide",
        "_introduced",
        "_may_move",
        "_plain",
        "_splitter",
        "_usage",
        "_waiting",
        "completed",
        "waits",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        usage: UsageReader,
        answers: AnswerReader,
        *,
        hide: bool,
        decoder: Decoder | None = None,
    ) -> None:
        self._completes = endpoint.completes
        self._usage = usage
        self._answers = answers
        self._hide = self._edits = hide
        self._decoder = decoder
        self._splitter = FrameSplitter()
        self._held: list[bytes] = []
        self._waiting: list[bytes] = []
        self._may_move = False
        self._plain = PlainChunks(answers.first_texts, hide=hide, room=TEXT_MAX)
        self._introduced = False
        self._between_frames = False
        self.completed = False
        self.waits = False

    def feed(self, data: bytes) -> bytes:
        """Return the frames that may pass, edited where we asked for usage."""
        if self._between_frames:
            out = self._plain.relay(data)
            if out is not None:
                return out
        if self._decoder is not None:
            return self._feed_encoded(data)
        out = self._feed_decoded(data)
        self._between_frames = (
            self._introduced
            and not self.completed
            and not self.waits
            and self._splitter.between_frames
        )
        return out

    def _feed_decoded(self, data: bytes) -> bytes:
        completed = self.completed
        if completed:
            self._held.append(data)
            return b""
        frames = self._splitter.feed(data)
        if len(frames) == 1:
            out = self._frame(frames[0])
        else:
            out = b"".join([self._frame(frame) for frame in frames])
        if self.completed:
            self._held.append(self._splitter.flush())
        return out

    def _feed_encoded(self, data: bytes) -> bytes:
        """Relay compressed bytes as they are, reading a decoded copy (only edited ones differ)."""
        assert self._decoder is not None  # noqa: S101 - the caller has looked
        plain = self._decoder.feed(data)
        if self._edits:  # and not what is hidden now: plain once, plain to the end
            return self._feed_decoded(plain)
        completed = self.completed
        for frame in () if completed else self._splitter.feed(plain):
            self._read(frame)
            if self.completed:
                self._splitter.flush()
                break
        if self.completed:
            self._held.append(data)
            return b""
        return data

    def _frame(self, frame: bytes) -> bytes:
        if self._introduced and not self.completed:
            out = self._plain.relay(frame)
            if out is not None:
                return self.take_waiting() + out if self.waits else out
        data = b"" if self.completed else self._read(frame)
        if self.completed:
            self._held.append(frame)
            return self.take_waiting()
        return self._edited(frame, data) if self._hide else frame

    def _edited(self, frame: bytes, data: bytes) -> bytes:
        edited = self._without_usage(frame, data) if b'"usage"' in frame else frame
        if not edited:
            self._put_back(data)
        elif self._hide and may_lack_moved(edited) and len(self._waiting) < MAX_WAITING:
            self._waiting.append(edited)
            self.waits = True
            return b""
        return self.take_waiting() + edited

    def _without_usage(self, frame: bytes, data: bytes) -> bytes:
        # The cheaper question first: only the one chunk that was added has no choices.
        if b'"choices":[]' in frame and is_injected_usage_chunk(data):
            return b""
        edited = without_null_usage(frame)
        if edited is not frame:
            return edited
        if is_injected_usage_chunk(data):
            return b""
        if is_running_usage_chunk(data):
            self._hide = False
            self._plain.stop_hiding()
        return frame

    def _put_back(self, usage_chunk: bytes) -> None:
        self._waiting = with_moved(self._waiting, usage_chunk, fingerprint=self._may_move)

    def _read(self, frame: bytes) -> bytes:
        name, data = payload(frame)
        if data:
            if not self._introduced:
                self._introduced = True
                self._may_move = FINGERPRINT not in data
            self._usage.event(data, name)
            self.completed = self._completes(data, name)
            self._answers.event(data)
        return data

    def finish(self) -> None:
        """Read what is left: a last frame without its empty line, and the text."""
        rest = self._splitter.flush()
        if not rest:
            return
        data = self._read(rest)
        if self._hide and b'"usage"' in rest:
            rest = self._without_usage(rest, data)
            if not rest:
                self._put_back(data)
        if self._decoder is None or self._edits:
            self._held.append(rest)

    def take_waiting(self) -> bytes:
        """Return the finish chunks that wait for a usage chunk."""
        if not self.waits:
            return b""
        waiting = b"".join(self._waiting)
        self._waiting.clear()
        self.waits = False
        return waiting

    def take_held(self) -> bytes:
        """Return the completing event and what came after it."""
        held = b"".join(self._held)
        self._held.clear()
        return held
