"""The proxies of the bench, and how each is started."""

import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.bench import nginx
from tests.bench.loopback import await_port, free_port, get
from tests.bench.machine import CORE_UNDER_TEST, find
from tests.bench.processes import Program, Stage, output_of, pinned
from tests.bench.upstreams import Counts, Upstream, start_nginx

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
_LITELLM_START_SECONDS = 90.0
_UPSTREAM_KEY = "sk-bench-upstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the load is aimed at; ``program`` is None for the upstream itself."""

    name: str
    port: int
    program: Program | None = None
    key: str = "sk-bench"

    @property
    def running(self) -> Program:
        """Return its program; the upstream itself is nobody's subject."""
        if self.program is None:
            msg = f"{self.name} is not a program under test"
            raise TypeError(msg)
        return self.program


def compile_tools(directory: Path) -> None:
    """Compile the upstream and the load generator, and the Go proxy if Go is there."""
    for name in ("upstream", "client"):
        output_of([find("gcc") or "gcc", "-O2", "-o", directory / name, HERE / f"{name}.c"])
    if go := find("go"):
        output_of([go, "build", "-o", directory / "reverse_proxy", HERE / "reverse_proxy.go"])


def start_nginx_proxy(stage: Stage, upstream: Upstream) -> Subject:
    """Start nginx as the proxy under test."""
    port = free_port()
    text = nginx.proxy(port, upstream.port, upstream.certificate)
    program = start_nginx(stage, f"nginx-{port}", text, core=CORE_UNDER_TEST)
    await_port(program, port)
    return Subject(name="nginx", port=port, program=program)


def start_go_proxy(stage: Stage, upstream: Upstream) -> Subject | None:
    """Start Go's proxy on one core; None if there is no Go."""
    if not (stage.directory / "reverse_proxy").exists():
        return None
    port = free_port()
    command = [
        stage.directory / "reverse_proxy",
        f"127.0.0.1:{port}",
        f"http://127.0.0.1:{upstream.port}",
    ]
    program = stage.start(
        f"go-{port}", command, core=CORE_UNDER_TEST, environment={"GOMAXPROCS": "1"}
    )
    await_port(program, port)
    return Subject(name="Go", port=port, program=program)


def start_litellm(stage: Stage, upstream: Upstream) -> Subject | None:
    """Start LiteLLM's proxy with one worker and no database; None if it is not installed."""
    tool = find("litellm")
    if tool is None:
        return None
    port = free_port()
    config = stage.directory / f"litellm-{port}.yaml"
    parameters = {
        "model": "openai/gpt-4o",
        "api_base": f"http://127.0.0.1:{upstream.port}/v1",
        "api_key": _UPSTREAM_KEY,
    }
    models = [{"model_name": "gpt-4o", "litellm_params": parameters}]
    config.write_text(json.dumps({"model_list": models}))
    command = [tool, "--config", config, "--host", "127.0.0.1", "--port", str(port)]
    key = f"sk-{secrets.token_hex(32)}"
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": key}
    program = stage.start(f"litellm-{port}", command, core=CORE_UNDER_TEST, environment=settings)
    await_port(program, port, seconds=_LITELLM_START_SECONDS)
    return Subject(name="LiteLLM", port=port, program=program, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A ledger of its own with one key, ready for the proxy to be started on it."""

    database: Path
    key: str
    environment: dict[str, str]


def install(
    stage: Stage, name: str, upstream: Upstream, *, budget_usd: str | None = None
) -> Installation:
    """Make a ledger and a key; settings are the defaults, but for what names places.

    ``budget_usd``: what the key's subscription may spend in a period; None for no limit.
    """
    database = stage.directory / f"{name}.db"
    scheme = "https" if upstream.certificate else "http"
    environment = {
        "PYTHONPATH": str(ROOT),
        "PROXY_UPSTREAM_BASE_URL": f"{scheme}://127.0.0.1:{upstream.port}/v1",
        "PROXY_UPSTREAM_API_KEY": _UPSTREAM_KEY,
        "PROXY_DATABASE_URL": f"sqlite:///{database}",
        "PROXY_PRICING_FILE": str(ROOT / "pricing.toml"),
    }
    if upstream.certificate:
        environment["SSL_CERT_FILE"] = str(upstream.certificate)

    def weighbridge(*words: str) -> str:
        command = pinned(CORE_UNDER_TEST, [sys.executable, "-m", "proxy", *words])
        return output_of(command, environment=environment, directory=stage.directory)

    made = weighbridge("keys", "create", "--customer", "bench", "--json")
    if budget_usd is not None:
        weighbridge("limits", "set", "bench", "--spend-per-period", budget_usd)
    return Installation(database=database, key=json.loads(made)["secret"], environment=environment)


def start_weighbridge(stage: Stage, installation: Installation) -> Subject:
    """Start the proxy itself, its access log on to a file; returns before it answers."""
    port = free_port()
    program = stage.start(
        f"weighbridge-{port}",
        [sys.executable, "-m", "proxy", "serve"],
        core=CORE_UNDER_TEST,
        environment={**installation.environment, "PROXY_PORT": str(port)},
    )
    return Subject(name="Weighbridge", port=port, program=program, key=installation.key)


def await_subject(subject: Subject) -> Subject:
    """Wait until a proxy listens."""
    if subject.program:
        await_port(subject.program, subject.port)
    return subject


def ledger_counts(subject: Subject) -> tuple[Counts, int]:
    """Read the sums of the ledger, and how many requests are still open in it."""
    told = json.loads(get(subject.port, "/usage/current", key=subject.key))
    tokens: dict[str, int] = {}
    for line in told["lines"]:
        if line["metric"] == "tokens":
            tokens[line["type"]] = tokens.get(line["type"], 0) + line["quantity"]
    states = told["completeness"]
    counts = Counts(
        requests=sum(states[state] for state in ("exact", "estimated", "partial")),
        input=tokens.pop("input", 0),
        cached_input=tokens.pop("cached_input", 0),
        output=tokens.pop("output", 0),
    )
    if tokens:
        msg = f"the ledger holds tokens that the upstream never billed: {tokens}"
        raise RuntimeError(msg)
    return counts, states["open"]
