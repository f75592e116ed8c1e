"""What crosses, sans-I/O: bytes in, values out.

Requests:

``endpoints``       which endpoints are known, and how each is metered;
``headers``         heads, and which headers go which way;
``upstream_paths``  how a path is written at upstreams of different kinds;
``request``         what metering must know of a body, and the one edit made to it;
``other_models``    the models that a request names besides its own;
``request_shape``   what must be known of a request to meter its answer;
``bounds``          the most that a request can use;
``guard``           what managed mode refuses;
``multipart``       forms, cut anywhere;
``audio_length``    how long a file of audio is: with ``matroska`` and ``mp3_length``;
``inline_audio``    how much audio is in JSON, as base64;
``json_scan``       where the members of a JSON object are, in its bytes.

Answers:

``sse``            the frames of a stream;
``decoding``       content encodings that we can undo;
``answer``         an answer on its way through: relayed, held, seen;
``plain_chunk``    the chunk that nearly all chunks are;
``untyped``        an answer whose type does not say whether it is a stream;
``injected``       what we asked the upstream for, and take out again;
``answers``        what a model answered, collected for the estimate;
``answer_shapes``  the members of answers that are counted;
``usage``          what an answer says was used: a package of its own;
``deferred``       answers that leave their usage for later, and those that show it;
``batch_lines``    a batch's output file;
``limit_headers``  what clients are told of their limits.

WebSockets:

``websocket_handshake``  the opening handshake;
``websocket_frames``  frames, read as they pass;
``session_pieces``    the way down, cut where something must be durable first;
``session_meter``     a session whose answers are usage of one request;
``session_guard``     what managed mode refuses of a client's messages;
``turns``             a session whose answers are requests of their own;
``turn_meter``        its way down: which answer is whose.
"""
