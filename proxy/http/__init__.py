"""HTTP/1.1 over asyncio transports, pushed rather than pulled.

Bytes are pushed from client to upstream and back as they arrive (``feed``, ``pause``, ``resume``):
no task wakes up for a chunk. The parsing of HTTP itself is httptools' (llhttp).

``server``       takes connections, bounds them, and ends in order;
``connection``   a client's connection: parses requests, keeps answers in order;
``exchange``     one request and its answer, as a handler sees it;
``limits``       what a client's connection is allowed;
``pace``         how fast a client sends and reads, and when that is too slow;
``known``        the head of a connection's last request: most clients send it again;
``upgrades``     a request whose upgrade nobody wants goes on as what it is;
``held``         the request bodies in memory, counted;
``render``       errors as answers, in OpenAI's shape;
``reasons``      the reason phrases of answers that are ours;
``refusals``     what is told to a client whose bytes can't be served at all;
``upstream``     a connection to the API behind;
``pool``         the connections to one origin, kept between requests;
``connecting``   where an upstream is, and why it could not be reached;
``fetch``        a request of our own;
``deadlines``    timeouts, by one sweep over everything that can be late;
``descriptors``  how many files this process may have open;
``moderation``   rests of the event loop, so that it finds many pieces at once;
``alarm``        what ends such a rest early.
"""
