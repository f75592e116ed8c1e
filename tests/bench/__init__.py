"""What a request costs: ``python -m tests.bench`` measures the proxy beside nginx and others.

The program under test has a core of its own; load and upstream share the other. CPU is user and
system time from ``/proc``, divided by finished requests: it holds up on a noisy machine where
throughput does not. Only ratios within one run are compared with limits.

``limits``     the rows of the table and what each must reach.
``machine``    what is installed, and how large this machine is.
``processes``  programs that are started, pinned, weighed and ended.
``upstreams``  what stands behind the proxies, and counts.
``programs``   the proxies, and how each is started.
``load``       the load generators, and what they report.
``costs``, ``delays``, ``sizes``  the rows: CPU; time; memory and start.
``run``        what the rows of one run share, and the check of the ledger.
``history``    a ledger filled with a busy month.
``report``     the table.
"""
