"""Billing: what a period costs, now and for ever; between the ledger and those who show it.

``books`` finds price books by the number of their adoption; ``spans`` finds periods; ``rated``
rates open ones, ``adjusting`` charges what came late, ``closing`` closes them; ``bills`` answers
for any invoice, ``page`` prints it; ``repricing`` tells what an edit of prices changes,
``explaining`` why an amount is what it is; ``upkeep`` runs in every worker.
"""
