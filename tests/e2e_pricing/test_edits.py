"""A thousand edits under load: no request fails, no half-read file prices, all price alike."""

import asyncio
import json
import re
import signal
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.clock import now
from proxy.core.usage import Metric
from proxy.errors import PricingError
from proxy.pricing import parse
from proxy.pricing.watch import LOOK_S
from tests.e2e_pricing.shop import Editor, Load, get, priced_at, prices, two_proxies
from tests.proxy_process import ProxyProcess, until

EDITS = 1000
PLACE = re.compile(r"pricing\.toml:\d+:\d+: ")


@pytest.mark.alone
async def test_a_thousand_edits_under_load_with_two_workers(tmp_path: Path) -> None:
    editor = Editor(tmp_path / "pricing.toml", seed=20_261_121)
    with two_proxies(tmp_path, editor.path) as proxies:
        key, frozen = proxies[0].key("busy"), proxies[0].key("frozen")
        load = Load(proxies, key)
        await _use_once(proxies[0], frozen)
        stop = asyncio.Event()
        running = asyncio.create_task(load.run(stop))
        seen = await _edit_and_look(editor, proxies, frozen)
        editor.replace()
        last = editor.path.read_text()
        await asyncio.to_thread(until, lambda: _in_force(proxies[0]) == last)
        stop.set()
        await running
        lines = get(proxies[0].address, "/usage/current", frozen)["lines"]
        adopted = {row["sequence"]: row["text"] for row in proxies[0].rows("SELECT * FROM books")}
        logs = [proxy.log for proxy in proxies]

    assert not load.failed
    assert load.answered > 100
    assert sum(editor.kinds.values()) == EDITS
    assert set(adopted.values()) <= editor.meant
    assert len(adopted) > 20
    _same_prices_by_number(seen, adopted, lines)
    _every_refusal_has_its_line(logs)


async def _use_once(proxy: ProxyProcess, key: str) -> None:
    load, stop = Load((proxy,), key), asyncio.Event()
    running = asyncio.create_task(load.run(stop))
    while not load.answered:
        await asyncio.sleep(0.01)
    stop.set()
    await running


async def _edit_and_look(
    editor: Editor, proxies: tuple[ProxyProcess, ProxyProcess], key: str
) -> list[tuple[int, str]]:
    """Edit, mostly faster than a file may move; now and then let it rest, and look."""
    seen: list[tuple[int, str]] = []
    for edit in range(EDITS):
        await asyncio.to_thread(editor.edit)
        if edit % 10:
            await asyncio.sleep(editor.random.uniform(0, 0.02))
            continue
        await asyncio.sleep(editor.random.uniform(LOOK_S, 4 * LOOK_S))
        for proxy in proxies:
            found = await asyncio.to_thread(priced_at, proxy, key)
            if found is not None:
                seen.append(found)
    return seen


def _in_force(proxy: ProxyProcess) -> str:
    return str(proxy.rows("SELECT text FROM books ORDER BY sequence DESC LIMIT 1")[0]["text"])


def _same_prices_by_number(
    seen: list[tuple[int, str]], adopted: dict[int, str], lines: list[dict[str, Any]]
) -> None:
    """Whoever bills by a number bills by its text, so both do alike."""
    assert len({number for number, _ in seen}) > 10
    for number, total in seen:
        assert Decimal(total) == _cost(adopted[number], lines), number


def _cost(text: str, lines: list[dict[str, Any]]) -> Decimal:
    book = parse(text)
    cost = Decimal(0)
    for line in lines:
        model = book.entry(line["model"], "gpt-4o")
        if model is None:
            continue
        quote = book.quote(model, Metric.TOKENS, line["type"], plan="default", at=now())
        if quote is not None and quote.price.price is not None:
            cost += quote.price.price * line["quantity"] / quote.price.package_size
    return cost


def _every_refusal_has_its_line(logs: list[str]) -> None:
    refusals = 0
    for log in logs:
        for line in log.splitlines():
            message = json.loads(line).get("message", "")
            if message.startswith("prices refused"):
                refusals += 1
                assert PLACE.search(message.splitlines()[1]), message
    assert refusals > 10


@pytest.mark.alone
def test_a_good_edit_is_in_force_everywhere_within_a_second(tmp_path: Path) -> None:
    editor = Editor(tmp_path / "pricing.toml", seed=1)
    with two_proxies(tmp_path, editor.path) as proxies:
        until(lambda: all(_number(proxy) == 1 for proxy in proxies))
        took_s = []
        for number in range(2, 8):
            began_s = time.monotonic()
            editor.replace()
            until(lambda: all(_number(proxy) == number for proxy in proxies))  # noqa: B023
            took_s.append(time.monotonic() - began_s)
        assert sorted(took_s)[len(took_s) // 2] < 1.0
        assert "prices: gpt-4o input 1.0002 -> 1.0003" in proxies[0].log + proxies[1].log


def test_a_bad_edit_is_told_by_both_and_the_old_prices_stay(tmp_path: Path) -> None:
    editor = Editor(tmp_path / "pricing.toml", seed=1)
    with two_proxies(tmp_path, editor.path) as proxies:
        editor.path.write_text("[models.m]\ninput = -1\n")
        for proxy in proxies:
            refused = until(lambda: get(proxy.address, "/readyz")["pricing"]["refused"])  # noqa: B023
            assert f"{editor.path}:2:1: models.m.input: " in refused
            assert _number(proxy) == 1
        editor.path.unlink()
        until(lambda: "no such file" in str(get(proxies[0].address, "/readyz")))
        editor.replace()
        for proxy in proxies:
            until(lambda: _number(proxy) == 2)  # noqa: B023
            assert get(proxy.address, "/readyz")["pricing"]["refused"] is None


def test_when_the_one_that_leads_dies_the_other_takes_over(tmp_path: Path) -> None:
    editor = Editor(tmp_path / "pricing.toml", seed=1)
    with two_proxies(tmp_path, editor.path) as (first, second):
        first.kill()
        editor.replace()
        until(lambda: _number(second) == 2)


def test_a_bad_file_stops_the_first_start_alone(tmp_path: Path) -> None:
    path = tmp_path / "pricing.toml"
    path.write_text(prices(1))
    with ProxyProcess(tmp_path / "one", "http://127.0.0.1:9", pricing_file=path) as proxy:
        path.write_text("x =")
        with pytest.raises(AssertionError, match="did not start"):
            proxy.start()
        assert proxy.wait() == 1
        assert f"{path}:1:4: " in proxy.log
        path.write_text(prices(1))
        proxy.start()
        proxy.terminate()
        path.write_text("x =")
        proxy.start()
        assert "starting with those in force since" in proxy.log
        ready = get(proxy.address, "/readyz")["pricing"]
        assert ready["sequence"] == 1
        assert f"{path}:1:4: " in ready["refused"]


def test_a_hang_up_reads_the_file_again(tmp_path: Path) -> None:
    editor = Editor(tmp_path / "pricing.toml", seed=1)
    with two_proxies(tmp_path, editor.path) as proxies:
        editor.replace()
        for proxy in proxies:
            proxy.process.send_signal(signal.SIGHUP)
        until(lambda: all(_number(proxy) == 2 for proxy in proxies))


def _number(proxy: ProxyProcess) -> int:
    return int(get(proxy.address, "/readyz")["pricing"]["sequence"])


def test_the_numbers_of_the_test_are_good_prices() -> None:
    assert parse(prices(7)).models["gpt-4o"].name == "gpt-4o"
    with pytest.raises(PricingError):
        parse(prices(7)[:-5])
