"""OK, EOF and ERR packets: what is written is read, what is cut is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.mysql.constants import EOF, SERVER_SESSION_STATE_CHANGED
from proxy.mysql.messages import (
    Err,
    Ok,
    eof_payload,
    err_payload,
    ok_payload,
    read_err,
    read_ok,
)

OKS = st.builds(
    Ok,
    affected_rows=st.integers(0, 2**64 - 1),
    last_insert_id=st.integers(0, 2**64 - 1),
    status=st.integers(0, 0xFFFF).map(lambda flags: flags & ~SERVER_SESSION_STATE_CHANGED),
    warnings=st.integers(0, 0xFFFF),
    info=st.binary(max_size=300),
)


@given(OKS, st.binary(min_size=1, max_size=300), st.sampled_from([0, EOF]))
def test_an_ok_with_session_state_is_read_as_it_was_written(
    ok: Ok, track: bytes, header: int
) -> None:
    ok.track = track
    payload = ok_payload(ok, session_track=True, header=header)
    assert payload[0] == header
    ok.status |= SERVER_SESSION_STATE_CHANGED
    assert read_ok(payload) == ok


@given(OKS)
def test_an_ok_without_session_state_is_the_same_for_every_client(ok: Ok) -> None:
    payload = ok_payload(ok, session_track=True)
    assert payload == ok_payload(ok, session_track=False)
    assert read_ok(payload) == ok


def test_session_state_is_left_out_for_clients_that_do_not_ask_for_it() -> None:
    ok = Ok(1, 2, SERVER_SESSION_STATE_CHANGED | 2, 3, b"info", b"track")
    payload = ok_payload(ok, session_track=False)
    assert payload == b"\x00\x01\x02\x02\x00\x03\x00\x04info"


@given(OKS, st.binary(min_size=1, max_size=40), st.data())
def test_an_ok_that_is_cut_is_refused_or_lacks_what_may_be_lacking(
    ok: Ok, track: bytes, data: st.DataObject
) -> None:
    ok.track = track
    payload = ok_payload(ok, session_track=True)
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    try:
        assert not read_ok(cut).track
    except ProtocolError:
        return
    assert len(cut) >= 7


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    for read in (read_ok, read_err):
        try:
            read(payload)
        except ProtocolError:
            continue


def test_bytes_behind_an_ok_are_refused() -> None:
    with pytest.raises(ProtocolError):
        read_ok(ok_payload(Ok(info=b"a"), session_track=False) + b"x")


def test_an_eof_has_warnings_ahead_of_its_status() -> None:
    assert eof_payload(0x0022, 3) == b"\xfe\x03\x00\x22\x00"


@given(st.integers(1, 0xFFFF), st.sampled_from(["42000", "HY000"]), st.binary(max_size=100))
def test_an_err_is_read_as_it_was_written(errno: int, sqlstate: str, message: bytes) -> None:
    assert read_err(err_payload(errno, sqlstate, message)) == Err(errno, sqlstate, message)


def test_an_err_ahead_of_a_greeting_has_no_sqlstate() -> None:
    payload = err_payload(1040, "", "Too many connections")
    assert payload == b"\xff\x10\x04Too many connections"
    assert read_err(payload) == Err(1040, "", b"Too many connections")


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\xff\x10", b"\xff\x10\x04#0800"])
def test_a_malformed_err_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_err(payload)
