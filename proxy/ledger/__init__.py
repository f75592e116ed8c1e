"""The durable record of every request, its usage events and their sums.

``port`` says what a ledger does, in verbs; ``sqlite`` is one that does it. A request is opened,
durably, before it goes upstream, and settled, durably, before its client has a complete answer.
"""
