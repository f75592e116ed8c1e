"""Weighbridge: a metering reverse proxy for OpenAI-compatible APIs.

Folders, from the inside out; imports only ever point down this list:

``core``      what is decided: usage, prices, rating, periods, budgets. Pure.
``wire``      what crosses: request bodies, server-sent events, usage reports. Sans-I/O.
``tokens``    the estimate for answers whose upstream reports no usage.
``pricing``   ``pricing.toml``: text in, price book out; and watching the file.
``ledger``    the durable record: a port, and the databases behind it.
``http``      HTTP/1.1 over asyncio transports: the server, the upstream connections.
``metering``  one metered call: open, send, relay, measure, settle.
``billing``   periods rated, closed and invoiced; edits of prices.
``web``       routes and views: ``/v1``, usage, health.
``cli``       the commands. ``demo`` holds the scripted upstream.
"""

__version__ = "0.1.0"
