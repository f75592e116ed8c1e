"""An upstream that answers by a script, for ``weighbridge demo`` and for the tests.

``scripted``  a server that sends exactly the bytes it is told to, when it is told to.
``behaviour`` what a request may ask for: ``cached=100``, ``no-usage``, ``status=429``, …
``chat``      answers shaped like OpenAI's, of ``shapes``; ``truth`` is what they are billed at.
``requests``  what ``weighbridge demo`` asks it.

The proxy itself never uses any of it. ``python -m proxy.demo`` runs it as a process of its own.
"""
