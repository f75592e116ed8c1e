"""``python -m proxy.demo``: the scripted upstream as a process; prints its base URL and stays."""

import argparse
import asyncio
import contextlib
import signal
import sys

from proxy.demo.chat import ChatResponder
from proxy.demo.scripted import ScriptedUpstream


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m proxy.demo", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--api-key", help="the only key that is let in; unset: any")
    options = parser.parse_args()
    asyncio.run(_serve(options.host, options.port, options.api_key))
    return 0


async def _serve(host: str, port: int, api_key: str | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    upstream = ScriptedUpstream(ChatResponder(api_key), keep=False)
    await upstream.start(host, port)
    print(upstream.base_url, flush=True)
    await stop.wait()
    await upstream.stop()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
