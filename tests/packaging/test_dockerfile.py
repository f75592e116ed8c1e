"""The image's recipe: built in stages, small, not as root, with a volume and a health check."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from proxy.settings import Settings, env_name

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


ALL = instructions()
LAST_STAGE = ALL[max(n for n, (word, _) in enumerate(ALL) if word == "FROM") :]


def values(word: str, stage: list[tuple[str, str]] = LAST_STAGE) -> list[str]:
    return [rest for name, rest in stage if name == word]


def environment() -> dict[str, str]:
    pairs = (pair.partition("=") for rest in values("ENV") for pair in shlex.split(rest))
    return {name: value for name, _, value in pairs}


def test_known_instructions_only() -> None:
    known = {"FROM", "WORKDIR", "RUN", "COPY", "LABEL", "ENV", "USER", "VOLUME", "EXPOSE"}
    assert {word for word, _ in ALL} <= known | {"STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def test_stages_are_slim_and_of_one_python() -> None:
    images = [rest.split()[0] for rest in values("FROM", ALL)]
    assert len(images) == 2
    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.\d+-slim", images[0])
    floor = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    version = tuple(map(int, re.findall(r"\d+", images[0])))
    assert version >= tuple(map(int, re.findall(r"\d+", floor)))


def test_nothing_is_installed_but_what_is_locked() -> None:
    installs = [rest for rest in values("RUN", ALL) if "pip install" in rest]
    assert installs
    for rest in installs:
        assert "--require-hashes" in rest or "--no-deps" in rest
        assert "--no-cache-dir" in rest


def test_what_is_copied_is_there() -> None:
    for rest in values("COPY", ALL):
        *sources, _ = (word for word in rest.split() if not word.startswith("--"))
        for source in sources:
            assert source.startswith("/opt/") or (ROOT / source).exists(), source
    assert not any(source in {".", "./", "*"} for rest in values("COPY", ALL) for source in [rest])


def test_it_does_not_run_as_root() -> None:
    assert values("USER") == ["weighbridge"]
    words = [word for word, _ in LAST_STAGE]
    assert words.index("USER") > max(n for n, word in enumerate(words) if word == "RUN")


def test_data_is_in_the_volume_and_the_volume_is_ours() -> None:
    (volume,) = values("VOLUME")
    database = environment()["PROXY_DATABASE_URL"].removeprefix("sqlite:///")
    assert database.startswith(f"{volume}/")
    assert any(f"-o weighbridge -g weighbridge {volume}" in rest for rest in values("RUN"))


def test_settings_are_settings() -> None:
    names = {env_name(field) for field in Settings.model_fields}
    given = {name: value for name, value in environment().items() if name.startswith("PROXY_")}
    assert set(given) <= names
    assert environment()["PROXY_HOST"] == "0.0.0.0"  # noqa: S104 - inside a container
    assert environment()["PROXY_PORT"] == values("EXPOSE")[0]
    assert not {"PROXY_UPSTREAM_API_KEY", "PROXY_ADMIN_TOKEN"} & set(given)


class _Healthz(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@pytest.mark.parametrize("listens", [True, False])
def test_health_check_asks_the_proxy_itself_whatever_proxies_are_set(listens: bool) -> None:
    (check,) = values("HEALTHCHECK")
    command = json.loads(check[check.index("CMD ") + 4 :])
    assert command[:2] == ["python", "-c"]
    with HTTPServer(("127.0.0.1", 0), _Healthz) as server:
        port = str(server.server_port if listens else 9)
        serving = Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY"), "http://127.0.0.1:9")
        ran = subprocess.run(
            [sys.executable, *command[1:]],
            env={"PROXY_PORT": port, **proxies},
            capture_output=True,
            check=False,
        )
        server.shutdown()
        serving.join()
    assert (ran.returncode == 0) is listens, ran.stderr


@pytest.mark.parametrize(("word", "command"), [("ENTRYPOINT", ["weighbridge"]), ("CMD", ["serve"])])
def test_it_starts_the_proxy_without_a_shell(word: str, command: list[str]) -> None:
    assert json.loads(values(word)[0]) == command
    assert values("STOPSIGNAL") == ["SIGTERM"]
