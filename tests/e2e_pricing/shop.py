"""Two proxies on one ledger and one pricing file, and an operator who edits it."""

import asyncio
import json
import random
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.proxy_process import ProxyProcess, UpstreamProcess

REST_S = 0.1
"""A file that was left alone for that long is taken for what its operator meant."""


def prices(number: int) -> str:
    """Prices that tell their number twice, far apart: half of them would not fit the other half."""
    filling = "\n".join(
        f'[models."filling-{n}"]\ninput = {n}.{number:04d}\noutput = {n}.50' for n in range(40)
    )
    return (
        f'[models."gpt-4o"]\nmatch = ["gpt-4o-*"]\ninput = 1.{number:04d}\noutput = 2.00\n'
        f"{filling}\n[plans.last]\nmarkup = 1.{number:04d}\n"
    )


class Editor:
    """Edits the file, mostly badly, and remembers every content that may be adopted."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.random = random.Random(seed)
        self.number = 0
        self.meant: set[str] = set()
        self.kinds: dict[str, int] = {}
        self._edited_s = 0.0
        self.replace()

    def edit(self) -> None:
        """Make one edit of a kind that chance chooses."""
        kind = self.random.choice(("write", "replace", "halves", "broken", "scrambled", "empty"))
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        getattr(self, kind)()

    def write(self) -> None:
        self.path.write_text(self._next())

    def replace(self) -> None:
        """Write beside it and rename it over, as editors do."""
        draft = self.path.with_suffix(".draft")
        draft.write_text(self._next())
        draft.rename(self.path)

    def halves(self) -> None:
        """Write a part, wait, and write the rest."""
        text = self._next()
        cut = self.random.randrange(1, len(text))
        if self.random.random() < 0.5:
            cut = text.rindex("\n", 0, cut) + 1 if "\n" in text[:cut] else cut
        with self.path.open("w") as file:
            file.write(text[:cut])
            file.flush()
            began_s = time.monotonic()
            time.sleep(self.random.uniform(0, REST_S / 3))
            if time.monotonic() - began_s > REST_S:
                self.meant.add(text[:cut])  # it rested: who would know that more was to come?
            file.write(text[cut:])

    def broken(self) -> None:
        line = self.random.choice(("input = -1.00", "inptu = 1.00", "input = ", "input = 1.0.0"))
        self.path.write_text(prices(self.number).replace("output = 2.00", f"{line}\noutput = 2.00"))

    def scrambled(self) -> None:
        """Change a character: what comes of it may be good or not."""
        text = prices(self.number)
        at = self.random.randrange(len(text))
        text = text[:at] + self.random.choice('[]="x#.\n') + text[at + 1 :]
        self.meant.add(text)
        self.path.write_text(text)

    def empty(self) -> None:
        self.path.write_text("")

    def _next(self) -> str:
        self.number += 1
        text = prices(self.number)
        self.meant.add(text)
        return text


@contextmanager
def two_proxies(folder: Path, path: Path) -> Iterator[tuple[ProxyProcess, ProxyProcess]]:
    """Two proxies as two workers would be, but each with an address of its own."""
    with UpstreamProcess(folder / "upstream") as upstream:
        url = upstream.start().base_url
        first = ProxyProcess(folder / "one", url, pricing_file=path)
        database = f"sqlite:///{first.database}"
        second = ProxyProcess(folder / "two", url, pricing_file=path, database_url=database)
        with first, second:
            yield first.start(), second.start()


class Load:
    """Requests without a pause to every proxy; keeps what was not a success."""

    def __init__(self, proxies: tuple[ProxyProcess, ...], key: str) -> None:
        self._proxies = proxies
        self._headers = {"Authorization": f"Bearer {key}"}
        self.answered = 0
        self.failed: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        async with aiohttp.ClientSession(headers=self._headers) as client:
            await asyncio.gather(
                *(self._ask(client, proxy, stop) for proxy in self._proxies for _ in range(2))
            )

    async def _ask(
        self, client: aiohttp.ClientSession, proxy: ProxyProcess, stop: asyncio.Event
    ) -> None:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
        while not stop.is_set():
            async with client.post(f"{proxy.base_url}/chat/completions", json=body) as answer:
                text = await answer.text()
                if answer.status == 200:
                    self.answered += 1
                else:
                    self.failed.append(f"{answer.status} {text[:200]}")
            await asyncio.sleep(0.01)


def get(address: str, path: str, key: str = "") -> Any:
    """Return the JSON of a path."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"{address}{path}", headers=headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def priced_at(proxy: ProxyProcess, key: str) -> tuple[int, str] | None:
    """Return by which number of prices a proxy bills, and what; None if it changed meanwhile."""
    before = get(proxy.address, "/readyz")["pricing"]["sequence"]
    total = get(proxy.address, "/usage/current", key)["total"]["precise_amount"]
    after = get(proxy.address, "/readyz")["pricing"]["sequence"]
    return (before, total) if before == after else None
