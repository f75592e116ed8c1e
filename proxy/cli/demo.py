"""``weighbridge demo``: the main job on one machine, with no account and no network."""

import json
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import proxy
from proxy.cli.output import print_table, say
from proxy.cli.usage import print_usage
from proxy.demo.requests import open_directly, run_examples, sdk_installed
from proxy.errors import ProxyError
from proxy.settings import child_environment

_CUSTOMER = "acme"
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02
_SOURCE = str(Path(proxy.__file__).parents[1])
"""For the processes that the demonstration starts: they run elsewhere, also uninstalled."""


def demo() -> None:
    """Start a scripted upstream and the proxy, send a few requests, show what they used."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weighbridge-demo-")))
        upstream_key = secrets.token_hex(8)
        upstream = stack.enter_context(_upstream(upstream_key, folder))
        environment = _environment(folder, upstream, upstream_key)
        base_url = stack.enter_context(_proxy(environment, folder))
        key = _make_key(environment, folder)
        _show(base_url, upstream, key)


def _show(base_url: str, upstream: str, key: str) -> None:
    say(f"A scripted upstream answers at {upstream}; weighbridge stands before it.")
    say(f"The client changes one line:  base_url={base_url!r}")
    if not sdk_installed():
        say("(The openai SDK is not installed, so plain HTTP asks in its place.)")
    columns = ("request", "model", "answer")
    sent = run_examples(base_url, key)
    print_table(columns, ((one.shows, one.model, answer) for one, answer in sent))
    usage = _get(f"{base_url.removesuffix('/v1')}/usage/current", key)
    print_usage(usage)
    say("")
    _compare(_get(f"{upstream}/truth", "")["answers"])
    say("\nNow yours:  weighbridge keys create --customer acme, then weighbridge serve")


def _compare(answers: list[dict[str, Any]]) -> None:
    for reported, said in ((True, "reported"), (False, "counted but did not report")):
        counted = [answer for answer in answers if answer["usage_reported"] is reported]
        asked = sum(answer["prompt_tokens"] for answer in counted)
        answered = sum(answer["completion_tokens"] for answer in counted)
        say(f"The upstream {said} {asked:,} tokens in, {answered:,} out.")
    say("For the latter the ledger holds the tokenizer's estimate, and says so.")


def _environment(folder: Path, upstream: str, upstream_key: str) -> dict[str, str]:
    prices = folder / "pricing.toml"
    prices.write_bytes(files("proxy.demo").joinpath("prices.toml").read_bytes())
    return child_environment(
        PROXY_PORT=str(_free_port()),
        PROXY_UPSTREAM_BASE_URL=upstream,
        PROXY_UPSTREAM_API_KEY=upstream_key,
        PROXY_DATABASE_URL=f"sqlite:///{folder / 'weighbridge.db'}",
        PROXY_PRICING_FILE=str(prices),
        PROXY_LOG_FORMAT="json",
        PYTHONPATH=_SOURCE,
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def _upstream(key: str, folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "proxy.demo", "--api-key", key]
    environment = child_environment(PYTHONPATH=_SOURCE)
    log = folder / "upstream.log"
    with _process(command, environment, folder, log) as process:
        yield _wait_for(lambda: log.read_text().strip(), process, log)


@contextmanager
def _proxy(environment: dict[str, str], folder: Path) -> Iterator[str]:
    address = f"http://127.0.0.1:{environment['PROXY_PORT']}"
    log = folder / "proxy.log"
    with _process([sys.executable, "-m", "proxy", "serve"], environment, folder, log) as process:
        _wait_for(lambda: _alive(address), process, log)
        yield f"{address}/v1"


def _alive(address: str) -> str:
    try:
        with open_directly(f"{address}/healthz") as answer:
            return str(answer.status)
    except OSError:
        return ""


def _wait_for(sign: Callable[[], str], process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while not (seen := sign()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ProxyError(f"The demonstration did not start: {log.read_text()[-2000:]}")
        time.sleep(_POLL_SECONDS)
    return seen


@contextmanager
def _process(
    command: list[str], environment: dict[str, str], folder: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    # In a folder of its own, so that it reads no .env of the operator's.
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603 - our own programs
            command, env=environment, cwd=folder, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _make_key(environment: dict[str, str], folder: Path) -> str:
    command = [sys.executable, "-m", "proxy", "keys", "create", "--customer", _CUSTOMER, "--json"]
    made = subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.PIPE, check=True)  # noqa: S603
    return str(json.loads(made.stdout)["secret"])


def _get(url: str, key: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})  # noqa: S310
    with open_directly(request) as answer:
        return json.load(answer)
