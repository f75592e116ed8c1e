"""Pure decisions: no I/O, no clock, no environment, no event loop, nothing of ours from outside.

Vocabulary: a *usage event* is a quantity of a *metric*; tokens come in disjoint *token types*;
a *segment* is a subscription on one plan from-to; a *series* is a segment, a metric and its
dimensions; *rating* turns sums of series into amounts with a *price book*.
"""
