"""What an answer says was used: one JSON body or a sequence of events in, :class:`Usage` out.

Five steps, a file each:

``finding``     where the usage object is in this shape of answer;
``reader``      the last non-null one wins (Anthropic's are merged per field), never a sum;
``vocabulary``  what the members of a usage object mean: the providers' dialects, as data;
``splitting``   what is a part of what: overlapping counts become disjoint token types;
``tools``, ``measures``  what is billed beside tokens: tool calls, images, seconds, characters.

``fallback`` parts an answer's tokens by model where the one that was asked declined;
``assembling`` puts one answer's usage together; ``plain`` is the short way for what most answers
report; ``shape`` is what must be known of the request, ``notes`` what was unsure.
``sessions`` reads WebSockets, where each message may carry the usage of another answer.
To add a dialect is to add a row to ``vocabulary`` or ``splitting``, and a recording.
"""

from proxy.wire.usage.finding import is_injected_usage_chunk, is_running_usage_chunk
from proxy.wire.usage.reader import UsageReader
from proxy.wire.usage.sessions import SessionReader, SessionUsage
from proxy.wire.usage.shape import RequestShape

__all__ = [
    "RequestShape",
    "SessionReader",
    "SessionUsage",
    "UsageReader",
    "is_injected_usage_chunk",
    "is_running_usage_chunk",
]
