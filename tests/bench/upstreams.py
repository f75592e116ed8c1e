"""The upstreams of the bench: nginx answering a constant, and the compiled one; both count."""

import json
from dataclasses import dataclass
from pathlib import Path

from tests.bench import nginx
from tests.bench.bodies import ANSWER, CACHED_TOKENS, INPUT_TOKENS, OUTPUT_TOKENS
from tests.bench.loopback import await_port, free_port, get
from tests.bench.machine import CORE_OF_LOAD, find
from tests.bench.processes import Program, Stage, output_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What was billed, by the upstream's own count or by the ledger."""

    requests: int
    input: int
    cached_input: int
    output: int

    def __sub__(self, earlier: "Counts") -> "Counts":
        """Return what was billed since ``earlier``."""
        return Counts(
            requests=self.requests - earlier.requests,
            input=self.input - earlier.input,
            cached_input=self.cached_input - earlier.cached_input,
            output=self.output - earlier.output,
        )


@dataclass(frozen=True, slots=True)
class StreamUpstream:
    """The compiled upstream: streams and answers, and counts.

    ``certificate``: what the upstream's is signed by, if ``port`` speaks TLS.
    """

    port: int
    count_port: int
    certificate: Path | None = None

    def counts(self) -> Counts:
        """Ask it what it has billed so far."""
        told = self.tell()
        return Counts(
            requests=told["requests"],
            input=told["input_tokens"],
            cached_input=told["cached_tokens"],
            output=told["output_tokens"],
        )

    def tell(self) -> dict[str, int]:
        """Return its whole count; ``open`` are streams that run, ``broken`` were cut off."""
        told: dict[str, int] = json.loads(get(self.count_port, "/counts"))
        return told


@dataclass(slots=True)
class ConstantUpstream:
    """nginx answering a constant; its ``stub_status`` counts requests."""

    port: int
    status_port: int
    certificate: Path | None = None
    asked: int = 0

    def counts(self) -> Counts:
        """Ask it what it has billed so far: every request costs the same."""
        self.asked += 1
        requests = int(get(self.status_port, "/").split()[9]) - self.asked
        return Counts(
            requests=requests,
            input=requests * (INPUT_TOKENS - CACHED_TOKENS),
            cached_input=requests * CACHED_TOKENS,
            output=requests * OUTPUT_TOKENS,
        )


Upstream = StreamUpstream | ConstantUpstream


def start_upstreams(stage: Stage) -> tuple[ConstantUpstream, StreamUpstream]:
    """Start both upstreams beside the load."""
    return start_constant_upstream(stage), start_stream_upstream(stage)


def start_stream_upstream(stage: Stage) -> StreamUpstream:
    """Start an upstream that streams, with a count of its own."""
    answer = stage.directory / "answer.json"
    answer.write_bytes(ANSWER)
    port = free_port()
    command = [stage.directory / "upstream", str(port), answer]
    await_port(stage.start(f"streams-{port}", command, core=CORE_OF_LOAD), port)
    return StreamUpstream(port=port, count_port=port)


def start_constant_upstream(stage: Stage) -> ConstantUpstream:
    """Start nginx answering a constant, with a count of its own."""
    started = ConstantUpstream(port=free_port(), status_port=free_port())
    text = nginx.constant_upstream(started.port, started.status_port)
    program = start_nginx(stage, f"upstream-{started.port}", text, core=CORE_OF_LOAD)
    await_port(program, started.port)
    return started


def start_tls_upstreams(
    stage: Stage, streams: StreamUpstream
) -> tuple[ConstantUpstream, StreamUpstream] | None:
    """Start both once more behind TLS (``streams`` does the counting); None without openssl."""
    tool = find("openssl")
    if tool is None:
        return None
    certificate = stage.directory / "upstream.pem"
    output_of([tool, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", certificate.with_suffix(".key"), "-out", certificate])  # fmt: skip
    constant = ConstantUpstream(port=free_port(), status_port=free_port(), certificate=certificate)
    port = free_port()
    text = nginx.tls_upstream(constant.port, port, streams.port, certificate)
    text += nginx.status(constant.status_port)
    await_port(start_nginx(stage, "nginx-tls", text, core=CORE_OF_LOAD), constant.port)
    return constant, StreamUpstream(
        port=port, count_port=streams.count_port, certificate=certificate
    )


def start_nginx(stage: Stage, name: str, servers: str, *, core: int) -> Program:
    """Start one nginx worker on a core with these ``server`` blocks."""
    folder = stage.directory / name
    folder.mkdir(exist_ok=True)
    (folder / "nginx.conf").write_text(nginx.whole(servers, folder))
    command = [find("nginx") or "nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"]
    return stage.start(name, command, core=core)
