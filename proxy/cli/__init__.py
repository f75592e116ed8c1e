"""The commands: thin, one file each; :mod:`proxy.cli.commands` lists them.

``serve``        starts the proxy; ``options`` are its options, made from the settings;
``demo``         the main job on one machine;
``check``        whether settings and prices can be used;
``customers``    who is billed; ``subscriptions``: on which plan; ``keys``, ``limits``;
``usage``        what is owed, as ``invoice`` and ``periods`` show it, and ``prices`` why;
``requests``     what the ledger knows of a request;
``maintenance``  ``verify``, ``backup`` and ``prune``.

``commands`` has a line for each, ``ledger_access`` opens the ledger for them, ``output`` prints.
"""
