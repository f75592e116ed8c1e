"""Pure decisions: no I/O, no clock, no environment, no event loop, nothing of ours from outside.

Vocabulary: a *usage event* is a quantity of a *metric*; tokens come in disjoint *token types*;
a *segment* is a subscription on one plan from-to; a *series* is a segment, a metric and its
dimensions; *rating* turns sums of series into amounts with a *price book*.

``usage``          metrics, token types, and the usage of one request;
``units``          quantities as people read them;
``series``         series as rating sees them;
``ids``            request ids: ordered by time, unique over all workers;
``subscriptions``  customers, subscriptions, segments and keys;
``times``          moments and whole microseconds;
``periods``        billing periods between local midnights;
``money``          decimals that never lose a digit;
``prices``         prices, the tables that hold them, their versions in time;
``fallbacks``      which price is charged where a type has none of its own;
``matching``       which entry of the price book a model's name means;
``book``           the price book itself;
``plans``          how a price list is sold, and within which limits;
``rating``         price book and usage in, amounts out: a package of its own;
``report``         current usage, rated, with its completeness;
``adjustments``    usage that came to be known after its period was closed;
``invoices``       a rated period in whole cents that add up;
``folding``        what is counted together where it can't be told apart any more;
``limits``         budgets and rates of one owner: what is admitted, what it costs;
``limits_together``  the same for several requests at once, in fewer steps;
``reservations``   the worst case of a request, before it is sent;
``dearest``        the dearest way in which something can be priced;
``budgets``        limits as people see them;
``allowances``     what clients are told of their limits;
``polling``        when to ask again about what is deferred;
``rates``          how often something happens, of late.
"""
