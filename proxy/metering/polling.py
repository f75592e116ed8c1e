"""Asking the upstream how what is deferred ended, for clients that never ask.

In managed mode the worker that leads asks for all, with the upstream's own credentials. In
passthrough each worker asks for what it took itself, with the client's headers, which it keeps in
memory alone, bounded in number, until the end is seen. Either way it asks ever more rarely, and
after ``lifetime_s`` what has no end yet is settled as it stands.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from proxy.core.ids import to_text
from proxy.core.polling import Schedule
from proxy.core.times import SECOND_US
from proxy.errors import ProxyError
from proxy.http.fetch import Fetched, TooLargeError, fetch
from proxy.ledger.port import DeferredRequest, Ledger
from proxy.metering.batch_files import Unreadable, read_output
from proxy.metering.deferred_outcome import GONE, TOO_LONG
from proxy.metering.finishing import Finisher
from proxy.metering.upstreams import Upstream, Upstreams
from proxy.wire.answer import MAX_BODY_BYTES
from proxy.wire.batch_lines import BatchLines, OutputFile, output_file
from proxy.wire.decoding import decode_whole, is_encoded
from proxy.wire.deferred import is_object_id, read_object
from proxy.wire.endpoints import BATCHES, RESPONSES, Endpoint
from proxy.wire.headers import Headers

ASKED_AT_ONCE: Final = 4
"""Each answer may be as large as :data:`MAX_BODY_BYTES`."""
WATCHED_MAX: Final = 10_000
REMEMBERED_MAX: Final = 1_000
"""How many clients' headers a worker keeps (passthrough); of more, the oldest are forgotten."""
PAGE: Final = 500
TICK_S: Final = 1.0
TIMEOUT_S: Final = 60.0
WAITED_S: Final = 1.0
"""How long a client's read of a batch waits for the output file to be read, too."""
MISSES_MAX: Final = 3
"""An object that was just made may not be found at once: it is gone only after so many times."""
_GONE: Final = frozenset({404, 410})
_UNAUTHORIZED: Final = (" 401", " 403")
_MADE: Final = {RESPONSES.name: RESPONSES, BATCHES.name: BATCHES}
"""What can be asked about by its id alone."""
log = logging.getLogger("weighbridge")


@dataclass(frozen=True, slots=True, kw_only=True)
class PollPolicy:
    """How often is asked and for how long, in seconds; ``managed``: whose credentials are used."""

    managed: bool
    interval_s: float
    lifetime_s: float

    def schedule(self, endpoint: Endpoint) -> Schedule:
        """Return the pauses: batches take longer, and a client's own key is used sparingly."""
        first_s = self.interval_s * (15 if endpoint is BATCHES else 1)
        longest_s = first_s * (20 if endpoint is BATCHES else 30)
        return Schedule(first_s=first_s if self.managed else first_s * 5, longest_s=longest_s)


@dataclass(slots=True, kw_only=True, eq=False)
class Watch:
    """An object that is asked about at ``target``. ``due_s`` is in the loop's time.

    ``headers`` are the client's that ask, or the upstream's own. ``trouble``: why the last question
    told nothing, if so.
    """

    upstream: Upstream
    endpoint: Endpoint
    object_id: str
    opened_at_us: int
    target: str
    headers: Headers
    due_s: float = 0.0
    misses: int = 0
    files_missed: int = 0
    asked: bool = False
    trouble: str = ""


class Polls:
    """What is asked about by this worker."""

    def __init__(
        self,
        policy: PollPolicy,
        *,
        ledger: Ledger,
        finisher: Finisher,
        upstreams: Upstreams,
        clock_us: Callable[[], int],
    ) -> None:
        self._policy = policy
        self._ledger = ledger
        self._finisher = finisher
        self._by_name = {upstream.name: upstream for upstream in upstreams}
        self._clock_us = clock_us
        self._loop = asyncio.get_running_loop()
        self._watched: dict[tuple[str, str], Watch] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._after = 0

    async def run(self) -> None:
        """Ask when it is time, until cancelled."""
        try:
            while True:
                await asyncio.sleep(min(TICK_S, self._policy.interval_s))
                try:
                    await self.look()
                except ProxyError as error:
                    log.warning("what is deferred has to wait: %s", error.message)
        except asyncio.CancelledError:
            for task in self._asking:
                task.cancel()
            raise

    async def look(self) -> None:
        """Find what is new and what waited too long, if this worker leads; ask what is due."""
        if await self._ledger.leads():
            await self._discover()
        now_s = self._loop.time()
        room = ASKED_AT_ONCE - len(self._asking)
        due = [w for w in self._watched.values() if w.due_s <= now_s and not w.asked]
        for watch in sorted(due, key=lambda each: each.due_s)[:room]:
            self._start(watch)

    def _start(self, watch: Watch) -> asyncio.Task[None]:
        watch.asked = True
        task = self._loop.create_task(self._ask_in_turn(watch))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    def remember(
        self, upstream: Upstream, endpoint: Endpoint, object_id: str, target: str, headers: Headers
    ) -> None:
        """Ask about what this worker took, with its client's own headers (passthrough)."""
        if self._policy.managed or (upstream.name, object_id) in self._watched:
            return
        while len(self._watched) >= REMEMBERED_MAX:
            del self._watched[next(iter(self._watched))]
        self._watch(
            Watch(
                upstream=upstream,
                endpoint=endpoint,
                object_id=object_id,
                opened_at_us=self._clock_us(),
                target=target,
                headers=headers,
            )
        )

    def postpone(self, request: DeferredRequest) -> None:
        """Ask later: its client has just asked itself."""
        watch = self._watched.get((request.upstream, request.object_id))
        if watch is not None:
            self._rest(watch)

    def forget(self, request: DeferredRequest) -> None:
        """Ask no more, and let go of what was kept to ask with."""
        self._watched.pop((request.upstream, request.object_id), None)

    async def ask(self, request: DeferredRequest) -> None:
        """Ask now (managed mode), unless as many are asked about; it is learnt later then."""
        watch = self._watch_of(request)
        if watch is not None and len(self._asking) < ASKED_AT_ONCE:
            await asyncio.wait([self._start(watch)])

    async def ask_for(
        self, request: DeferredRequest, upstream: Upstream, target: str, headers: Headers
    ) -> None:
        """Ask now for a batch whose end its client has just read, and wait for a moment.

        Its output file is read with that client's headers (passthrough), or our own.
        """
        place = request.upstream, request.object_id
        if place not in self._watched:
            self.remember(upstream, BATCHES, request.object_id, target, headers)
        watch = self._watched.get(place) or self._watch_of(request)
        if watch is None or watch.asked:
            return
        if len(self._asking) < ASKED_AT_ONCE:
            await asyncio.wait([self._start(watch)], timeout=WAITED_S)
        else:
            watch.due_s = 0.0

    async def _discover(self) -> None:
        page = await self._ledger.waiting(after=self._after, limit=PAGE)
        self._after = page[-1].request_id if len(page) == PAGE else 0
        oldest_us = self._clock_us() - int(self._policy.lifetime_s * SECOND_US)
        for request in page:
            if request.opened_at_us < oldest_us:
                await self._give_up(request, TOO_LONG)
        if self._policy.managed:
            self._watch_all(request for request in page if request.opened_at_us >= oldest_us)

    def _watch_all(self, requests: Iterable[DeferredRequest]) -> None:
        for request in requests:
            known = (request.upstream, request.object_id) in self._watched
            if known or len(self._watched) >= WATCHED_MAX:
                continue
            watch = self._watch_of(request)
            if watch is not None:
                self._watch(watch)

    def _watch_of(self, request: DeferredRequest) -> Watch | None:
        """Return how to ask with our own credentials; None where there is no way."""
        upstream = self._by_name.get(request.upstream)
        endpoint = _MADE.get(request.endpoint)
        if upstream is None or upstream.credentials is None or endpoint is None:
            return None
        if not is_object_id(request.object_id):
            return None
        target = upstream.target(f"{endpoint.path}/{request.object_id}", "", "")
        return Watch(
            upstream=upstream,
            endpoint=endpoint,
            object_id=request.object_id,
            opened_at_us=request.opened_at_us,
            target=target,
            headers=upstream.credentials,
        )

    def _watch(self, watch: Watch) -> None:
        self._watched[watch.upstream.name, watch.object_id] = watch
        self._rest(watch)

    def _rest(self, watch: Watch) -> None:
        age_s = max(0, self._clock_us() - watch.opened_at_us) / SECOND_US
        watch.due_s = self._loop.time() + self._policy.schedule(watch.endpoint).pause_s(age_s)
        if age_s > self._policy.lifetime_s:
            self._watched.pop((watch.upstream.name, watch.object_id), None)

    async def _ask_in_turn(self, watch: Watch) -> None:
        try:
            await self._ask(watch)
        except ProxyError as error:
            log.warning("a deferred request has to wait: %s", error.message)
        except Exception:
            log.exception("asking how a deferred request ended failed")
        finally:
            watch.asked = False
            self._rest(watch)

    async def _ask(self, watch: Watch) -> None:
        """Ask once, unless its end was seen meanwhile, and settle it if this is its end."""
        place = watch.upstream.name, watch.object_id
        found = await self._ledger.deferred(watch.object_id)
        request = next((each for each in found if each.upstream == watch.upstream.name), None)
        if request is None:  # its settlement is in the spool yet
            return
        if not request.waits:
            self._watched.pop(place, None)
            return
        try:
            answer = await fetch(
                watch.upstream.pool,
                _head(watch, watch.target),
                limit=MAX_BODY_BYTES,
                timeout_s=TIMEOUT_S,
            )
        except TooLargeError:
            self._note_trouble(watch, request, "the answer is too large to be read")
            return
        except (ProxyError, TimeoutError):
            self._note_trouble(watch, request, "the upstream was not reached, or not in time")
            return
        if await self._judge(watch, request, answer):
            self._watched.pop(place, None)

    async def _judge(self, watch: Watch, request: DeferredRequest, answer: Fetched) -> bool:
        """Settle by an answer, if it shows the end; tell whether it does."""
        status = answer.head.status
        watch.misses = watch.misses + 1 if status in _GONE else 0
        if watch.misses >= MISSES_MAX:
            await self._give_up(request, GONE)
            return True
        if status != 200:
            gone = status in _GONE
            self._note_trouble(watch, request, "" if gone else f"it was answered with {status}")
            return False
        plain = _plain(answer)
        seen = read_object(watch.endpoint, plain)
        if not seen.final or seen.object_id != watch.object_id:
            same = seen.object_id == watch.object_id
            self._note_trouble(
                watch, request, "" if same else "it was answered with another object"
            )
            return False
        unread: tuple[str, ...] = ()
        file = output_file(plain) if watch.endpoint is BATCHES and seen.usage is None else None
        if file is not None:
            lines = await self._read_output(watch, file)
            if isinstance(lines, BatchLines):
                await self._finisher.finish_batch(request, seen, file, lines)
                return True
            if lines.passing:
                self._note_trouble(watch, request, lines.why)
                return False
            unread = (lines.why,)
        provider = watch.upstream.provider
        await self._finisher.finish(request, watch.endpoint, seen, provider, notes=unread)
        return True

    async def _read_output(self, watch: Watch, file: OutputFile) -> BatchLines | Unreadable:
        """Read a batch's output file, beside the batch, with the same headers."""
        path, _, query = watch.target.partition("?")
        number = quote(file.file_id, safe="")  # any text; what is no id is refused below
        path = f"{path.removesuffix(f'/batches/{watch.object_id}')}/files/{number}/content"
        head = _head(watch, f"{path}?{query}" if query else path, b"*/*")
        found = await read_output(watch.upstream, head, file, self._finisher.classifier)
        if isinstance(found, Unreadable) and found.missing:
            watch.files_missed += 1
            passing = watch.files_missed < MISSES_MAX
            return Unreadable(found.why, passing=passing)
        return found

    def _note_trouble(self, watch: Watch, request: DeferredRequest, trouble: str) -> None:
        """Log why a question told nothing when that begins or changes: nobody else notices it."""
        if trouble and trouble != watch.trouble:
            log.warning(
                "how %s ended was asked at the upstream %s in vain: %s. %s It is asked again; with "
                "no answer within %g h it is settled as partial.",
                to_text(request.request_id),
                watch.upstream.name,
                trouble,
                self._advice(trouble),
                self._policy.lifetime_s / 3600,
            )
        watch.trouble = trouble

    def _advice(self, trouble: str) -> str:
        if not trouble.endswith(_UNAUTHORIZED):
            return "Unless that passes, check the upstream."
        if self._policy.managed:
            return "Check the upstream's key: PROXY_UPSTREAM_API_KEY, or the one its table names."
        return "The client's key is refused there: only its own reads, with another, can tell."

    async def _give_up(self, request: DeferredRequest, why: str) -> None:
        log.warning("%s is settled without its end: %s", to_text(request.request_id), why)
        await self._finisher.give_up(request, why)


def _plain(answer: Fetched) -> bytes:
    encoding = answer.head.fields.get(b"content-encoding", b"")
    if not is_encoded(encoding):
        return answer.body
    return decode_whole(answer.body, encoding, MAX_BODY_BYTES) or b""


def _head(watch: Watch, target: str, accept: bytes = b"application/json") -> bytes:
    lines = [
        b"GET %b HTTP/1.1" % target.encode("latin-1"),
        b"Host: %b" % watch.upstream.pool.origin.authority,
        b"Accept: %b" % accept,
        b"Accept-Encoding: identity",
        b"User-Agent: weighbridge",
    ]
    lines += [b"%b: %b" % pair for pair in watch.headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"
