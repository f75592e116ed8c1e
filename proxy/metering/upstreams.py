"""The upstreams: where they are, whose key opens them, and which models are theirs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.core.matching import MEMO_LIMIT, WILDCARD, glob_matches, literal_length
from proxy.http.pool import UpstreamPool
from proxy.wire.endpoints import under_v1
from proxy.wire.headers import Headers
from proxy.wire.upstream_paths import (
    AZURE_PREFIX,
    UpstreamKind,
    azure_path,
    local_location,
    with_api_version,
)

_REFUSALS_MAX: Final = 10_000
_AZURE: Final = UpstreamKind.AZURE


@dataclass(slots=True, kw_only=True, eq=False)
class Upstream:
    """One upstream.

    ``credentials``: the headers that open it in place of the client's own; None leaves those
    (passthrough). ``provider`` is who answers, for the estimate. ``models``: the names and globs
    that are sent here. ``refuses_asking``: the models for which it turned out to refuse
    ``stream_options``; ``asks_usage`` false: it is known never to take it.
    """

    name: str
    pool: UpstreamPool
    credentials: Headers | None
    kind: UpstreamKind = UpstreamKind.OPENAI
    provider: str = "openai"
    models: tuple[str, ...] = ()
    api_version: str = ""
    asks_usage: bool = True
    refuses_asking: set[str] = field(default_factory=set)

    def target(self, path: str, query: str, model: str) -> str:
        """Write the request's target; ``path`` is the client's, under ``/v1`` or Azure's."""
        base_path = self.pool.origin.base_path
        if path.startswith(AZURE_PREFIX) and (self.kind is _AZURE or self.credentials is None):
            written = path  # as an Azure client wrote it, from the root
        elif path.startswith(AZURE_PREFIX):
            written = base_path + under_v1(path).removeprefix("/v1")
        elif self.kind is _AZURE:
            written = azure_path(base_path, path.removeprefix("/v1"), model)
        else:
            written = base_path + path.removeprefix("/v1")
        if self.kind is _AZURE:
            query = with_api_version(query, self.api_version)
        return f"{written}?{query}" if query else written

    def localized(self, status: int, headers: Headers) -> Headers:
        """Return an answer's headers with a ``Location`` that is here: else it leads past us."""
        if status != 201 and status // 100 != 3:
            return headers
        origin = self.pool.origin
        return [
            (name, local_location(value, origin.authority, origin.base_path, self.kind))
            if name.lower() == b"location"
            else (name, value)
            for name, value in headers
        ]

    def may_ask(self, model: str) -> bool:
        """Whether usage may be asked for: not where that was refused."""
        return self.asks_usage and model not in self.refuses_asking

    def refused_asking(self, model: str) -> None:
        """Remember that asking for usage was refused."""
        if len(self.refuses_asking) >= _REFUSALS_MAX:
            self.refuses_asking.clear()
        self.refuses_asking.add(model)


class Upstreams:
    """Which upstream serves a model: exact name, else the glob with the longest literal part."""

    def __init__(self, default: Upstream, others: Sequence[Upstream] = ()) -> None:
        self.default = default
        self._others = tuple(others)
        pairs = [(pattern, upstream) for upstream in others for pattern in upstream.models]
        self._exact = {name: upstream for name, upstream in pairs if WILDCARD not in name}
        globs = [pair for pair in pairs if WILDCARD in pair[0]]
        self._globs = sorted(globs, key=lambda pair: -literal_length(pair[0]))
        self._memo: dict[str, Upstream] = {}

    def __iter__(self) -> Iterator[Upstream]:
        yield self.default
        yield from self._others

    @property
    def several(self) -> bool:
        """Whether there is more than the default one."""
        return bool(self._others)

    @property
    def busy(self) -> int:
        """How many requests are with an upstream."""
        return sum(upstream.pool.busy for upstream in self)

    def choose(self, model: str) -> Upstream:
        """Return the upstream that serves a model; the default one if no pattern fits."""
        if not self._others:
            return self.default
        found = self._memo.get(model)
        if found is None:
            found = self._exact.get(model) or next(
                (upstream for glob, upstream in self._globs if glob_matches(glob, model)),
                self.default,
            )
            if len(self._memo) >= MEMO_LIMIT:
                self._memo.clear()
            self._memo[model] = found
        return found

    def close(self) -> None:
        """Close every connection."""
        for upstream in self:
            upstream.pool.close()
