"""The chunk that nearly all chunks are: one more piece of the first choice's text.

It is recognised, read and edited in one match of its bytes: decoding each chunk as JSON would
cost as much as relaying it. What does not match exactly goes the general way.
"""

import re

_FLAT = rb'"(?!error"|usage")[a-z_]++":(?:"[^"\\]*+"|[\d.]++|null|true|false)'

PLAIN_CHUNK = re.compile(
    rb"data: \{(?:" + _FLAT + rb",)*+"
    rb'"choices":\[\{"index":0,"delta":\{"content":"(?P<text>[^"\\]*+)"\},'
    rb'(?:"logprobs":null,)?"finish_reason":null\}\]'
    rb'(?P<usage>,"usage":null)?(?:,' + _FLAT + rb")*+\}\n\n"
)
"""A whole frame. ``text`` is without escapes; ``usage`` the member that we asked for, if there.

Every other member is flat and is neither ``usage`` nor ``error``: nothing of interest is missed.
"""
