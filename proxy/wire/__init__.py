"""What crosses, sans-I/O: bytes in, values out.

``headers`` which headers go which way; ``request`` what metering must know of a request's body;
``sse`` the frames of a stream; ``answer`` an answer on its way through; ``injected`` what we asked
the upstream for and take out again; ``usage`` what the answer says was used.
"""
