"""Who tells a request's context class."""

from typing import Protocol


class Classifier(Protocol):
    """The price book's say at settlement: which context class a request is in."""

    def context_class(self, model_reported: str, model_requested: str, input_tokens: int) -> str:
        """Return ``""`` or the class's name."""
