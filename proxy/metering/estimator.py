"""Our own count, in a thread: tokenizing takes long, and never on the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from proxy.metering.outcome import Estimated
from proxy.wire.answers import AnswerText


class Estimator(Protocol):
    """Counts what an upstream did not report."""

    async def estimate(
        self, *, endpoint: str, request: bytes, answer: AnswerText, model: str, provider: str
    ) -> Estimated:
        """Count a request and as much of its answer as there is; never raises.

        ``provider`` is ``openai``, ``azure`` or another name: who answered.
        """


class ThreadEstimator:
    """Counts with tiktoken in one thread of its own; vocabularies load with the first count."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="estimate")

    async def estimate(
        self, *, endpoint: str, request: bytes, answer: AnswerText, model: str, provider: str
    ) -> Estimated:
        """Count in the thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, _estimate, endpoint, request, answer, model, provider
        )

    def close(self) -> None:
        """End the thread once it has counted what it is counting."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _estimate(
    endpoint: str, request: bytes, answer: AnswerText, model: str, provider: str
) -> Estimated:
    from proxy.tokens.estimate import estimate_input, estimate_output  # noqa: PLC0415 - heavy

    asked = estimate_input(endpoint, request, model)
    answered = estimate_output(endpoint, request, answer, model, provider)
    return Estimated(
        input_tokens=asked.tokens,
        output_tokens=answered.tokens,
        input_audio_tokens=asked.audio_tokens,
        output_audio_tokens=answered.audio_tokens,
        notes=tuple(dict.fromkeys(asked.notes + answered.notes)),
    )
