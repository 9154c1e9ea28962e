"""The generator's client, against RFC 7677's example and against servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.client import Refused, Scram, connect, error_text
from tests.support import messages as wire
from tests.support.messages import message, text

if TYPE_CHECKING:
    from tests.conftest import Place


def test_scram_of_rfc_7677() -> None:
    scram = Scram("pencil", b"rOprNGfwEbeRWgbNEkqO")
    # The RFC's client names the user; PostgreSQL's takes it from the StartupMessage.
    scram._first = b"n=user,r=rOprNGfwEbeRWgbNEkqO"
    proof = scram.proof(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    assert proof.endswith(b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")


def test_error_text() -> None:
    assert error_text(text("SERROR") + text("C53300") + text("Mtoo many") + b"\0") == (
        "53300 too many"
    )
    assert message("E", b"\0")


async def test_logs_in_and_queries(place: Place) -> None:
    client = await connect(place.port, None)
    await client.login("app", "app-secret", "app")
    await client.query(wire.query("SELECT 1"))
    with pytest.raises(Refused, match="42601"):
        await client.query(wire.query("SELEC"))
    client.vanish()


async def test_wrong_password(place: Place) -> None:
    client = await connect(place.port, None)
    with pytest.raises(Refused, match="28P01"):
        await client.login("app", "wrong", "app")
    client.vanish()
