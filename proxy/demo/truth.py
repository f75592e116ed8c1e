"""What the scripted upstream would bill: its own account, to hold a ledger against."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Answer:
    """One answer as the upstream accounts for it; it grows while it is sent.

    ``outcome``: ``running``, ``finished``, ``cut`` (the client left; what was generated until
    then is billed) or ``error`` (nothing is). ``tag`` is the request's ``x-demo-tag``.
    """

    number: int
    path: str
    model_requested: str
    model: str
    stream: bool
    status: int
    tag: str | None
    service_tier: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    usage_reported: bool = False
    outcome: str = "running"


@dataclass(slots=True)
class Truth:
    """All answers, in the order in which their requests came."""

    answers: list[Answer] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return what ``GET /truth`` answers: every answer, and the sums of what is billed."""
        billed = [answer for answer in self.answers if answer.outcome != "error"]
        counted = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
        return {
            "answers": [asdict(answer) for answer in self.answers],
            "billed": len(billed),
            "totals": {name: sum(getattr(answer, name) for answer in billed) for name in counted},
        }
