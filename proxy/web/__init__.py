"""The HTTP surface: which path is whose, who may, and what the views show.

``router``         which path is whose;
``gateway``        ``/v1``: who calls, and where the call goes;
``bodies``         what is read of a request's body before it goes up;
``sockets``        WebSockets under ``/v1``;
``model_gate``     which models a plan may use, and what has no price;
``model_list``     ``GET /v1/models`` where there are several upstreams;
``keys``           keys as the hot path knows them;
``configuration``  what is remembered of the ledger's configuration;
``secrets``        which key a request shows, and how much of it may be told;
``shares``         what one client may have, so that it can't starve the others;
``usage``          ``/usage/…``;
``invoice``        ``GET /usage/invoice``;
``access_log``     one line a request.
"""
