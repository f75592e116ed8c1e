"""Weighbridge: a metering reverse proxy for OpenAI-compatible APIs.

From the inside out; each imports only what stands above it in this list:

``core``      what is decided: usage, prices, rating, periods, budgets. Pure.
``errors``    what reaches people: whose fault, what happened, what to do. ``clock`` tells the time.
``wire``      what crosses: request bodies, server-sent events, usage reports. Sans-I/O.
``tokens``    the estimate for answers whose upstream reports no usage.
``pricing``   ``pricing.toml``: text in, price book out; and watching the file.
``ledger``    the durable record: a port, and the database behind it.
``http``      HTTP/1.1 over asyncio transports: the server, the upstream connections.
``metering``  one metered call: open, send, relay, measure, settle.
``billing``   periods rated, closed and invoiced; edits of prices.
``web``       routes and views: ``/v1``, usage, health.
``settings``  what an operator can set; ``upstream_table`` reads the table of further upstreams;
              ``logs`` has what the log looks like.
``app``       the parts put together; ``chores`` keeps its background running.
``supervisor``  the worker processes of ``--workers``.
``demo``      the scripted upstream.
``cli``       the commands; ``__main__`` finds the one that is meant.
"""

__version__ = "0.1.0"
