"""The durable record of every request, its usage events and their sums.

A request is opened, durably, before it goes upstream, and settled, durably, before its client has
a complete answer.

``port``         what a ledger does, in verbs; ``periods``: what it says of billing periods;
``sqlite``       one that does it; more of its verbs: ``billing``, ``deferred``, ``limit_verbs``;
``connection``   connections, each with a thread of its own;
``faults``       what is wrong with a database, said for operators;
``locks``        the lock of all writes, and one for each worker; ``leading``: who leads;
``migrate``      the schema, in numbered steps;
``checkpoints``  checkpoints, off the commit path.

What is written:

``writer``        group commit; ``batch``: what waits for it;
``transactions``  one lock, one transaction, one commit;
``booking``       openings, settlements, events and sums; ``appending``: while a request runs;
``settlements``   the settlement of a request that is at hand;
``statements``    the statements of the hot path;
``identities``    whose request it is;
``series``        the dimensions of a sum, interned; ``sums``: their sums, and ``slots``: the times
                  that these are kept by;
``late``          what comes for closed periods;
``changes``       the changes that operators make;
``closings``      the closing of periods;
``spool``         where settlements go while the ledger can't take them;
``recovery``      what a dead worker left open becomes abandoned;
``pruning``       what belongs to nobody goes; ``pruning_closed``: the events of closed periods.

What is read:

``rows``      customers, subscriptions, segments, keys and books;
``standing``  a subscription's usage over windows of time;
``requests``  one request; ``priced``: what rating needs to know of it.

Limits:

``limiting``        admission takes from them, settlement books;
``limit_accounts``  the states of owners, remembered; ``limit_states``: their rows;
``limit_owners``    who is limited;
``limit_prices``    what a unit of a series costs, remembered;
``limit_sums``      what is spent and reserved, derived anew;
``limit_changes``   what operators set, clear and see.

Looking after it:

``maintenance``  how commands reach a ledger's file;
``backup``       a copy of one moment, made while it is written;
``verify``       whether every figure follows from the events, with ``verify_requests``,
                 ``verify_objects``, ``verify_periods``, ``verify_limits`` and ``limit_check``.
"""
