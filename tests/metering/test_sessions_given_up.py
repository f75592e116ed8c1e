"""Sockets that we fail on: a settlement that waits for a disk is not overtaken by a guess."""

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.core.usage import Measurement, RequestState, Usage
from proxy.errors import LedgerUnavailableError
from proxy.metering.session import UnmeteredSession
from proxy.metering.session_state import SessionMeans
from proxy.metering.turn_session import TurnSession

RELAY: Any = SimpleNamespace(status=101, ended=None)
EXACT = Measurement(state=RequestState.EXACT, usage=Usage(quantities=()))


class Settler:
    """Notes what is settled; fails where it is told to."""

    def __init__(self) -> None:
        self.full = False
        self.told: list[tuple[int, RequestState]] = []

    async def settle(self, settlement: Any) -> bool:
        if self.full:
            raise LedgerUnavailableError("No disk takes anything.")
        self.told.append((settlement.request_id, settlement.state))
        return True


def call(number: int) -> Any:
    return SimpleNamespace(id=number, request_id=f"wb_{number}", model="m", body_bytes=30)


def means(settler: Settler) -> SessionMeans:
    def settlement(of: Any, _status: int | None, measurement: Measurement) -> Any:
        return SimpleNamespace(request_id=of.id, state=measurement.state)

    caller: Any = SimpleNamespace(settlement=settlement)
    stands: Any = settler
    return SessionMeans(caller=caller, ledger=stands, settler=stands)


async def test_a_socket_s_own_end_is_not_overtaken() -> None:
    settler = Settler()
    session = UnmeteredSession(means(settler), call(1))
    settler.full = True
    with pytest.raises(LedgerUnavailableError):
        await session.settle(RELAY)
    settler.full = False
    await session.give_up(RELAY)
    assert settler.told == []


async def test_neither_is_a_turn_s_and_the_others_are_given_up() -> None:
    settler = Settler()
    rules: Any = SimpleNamespace(note=lambda *_: None)
    session = TurnSession(means(settler), call(1), rules)
    turns: list[Any] = [call(2), call(3), call(4)]
    session._calls = dict(enumerate(turns))  # type: ignore[arg-type]
    settler.full = True
    with pytest.raises(LedgerUnavailableError):
        await session._settle(turns[0], EXACT)
    settler.full = False
    await session.give_up(RELAY)
    abandoned = RequestState.ABANDONED
    assert settler.told == [(3, abandoned), (4, abandoned), (1, abandoned)]


async def test_all_are_tried_where_none_can_be_settled() -> None:
    settler = Settler()
    rules: Any = SimpleNamespace(note=lambda *_: None)
    session = TurnSession(means(settler), call(1), rules)
    turns: list[Any] = [call(2), call(3)]
    session._calls = dict(enumerate(turns))  # type: ignore[arg-type]
    settler.full = True
    with pytest.raises(LedgerUnavailableError):
        await session.give_up(RELAY)
    assert session._waits == {1, 2, 3}
