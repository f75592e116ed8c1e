"""HTTP/1.1 over asyncio transports, pushed rather than pulled.

``server`` takes connections and hands each request to a handler as an :class:`Exchange`;
``upstream`` is a connection to the API behind, ``pool`` keeps those. Bytes are pushed from one to
the other as they arrive (``feed``, ``pause``, ``resume``): no task wakes up for a chunk. The
parsing of HTTP itself is httptools' (llhttp).
"""
