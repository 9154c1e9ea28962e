"""We are the server: greeting, TLS and authentication of a client, up to its final OK.

    HandshakeV10 ── [SSLRequest, TLS] ── HandshakeResponse41 ── ``asking.py`` ── end

The OK itself is left to the session, which sends it once a server has taken this user to this
database. Names must be UTF-8: credentials are looked up by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.errors import BadHandshake, ProtocolError, TlsRequired
from proxy.mysql import auth
from proxy.mysql import handshake as wire
from proxy.mysql.asking import Asking
from proxy.mysql.capabilities import ClientFacts, TargetProfile, offered
from proxy.mysql.certificate_proof import is_proven_by
from proxy.mysql.constants import (
    CLIENT_COMPRESS,
    CLIENT_PLUGIN_AUTH,
    CLIENT_PROTOCOL_41,
    CLIENT_SSL,
    SERVER_STATUS_AUTOCOMMIT,
)
from proxy.wire.steps import Conversation, FetchTarget, StartTls, TlsFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.mysql.key_pair import KeyPair
    from proxy.wire.dialect import Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLogin:
    """A client that has authenticated."""

    user: str
    database: str
    """Empty for none."""
    facts: ClientFacts


def accept(
    arrival: Arrival, nonce: Callable[[int], bytes], keys: KeyPair
) -> Conversation[ClientLogin]:
    """See a client through greeting and authentication; ends ahead of the final OK.

    ``nonce`` gives random bytes; ``keys`` are for passwords that come encrypted. Keeps
    ``arrival.sequence``. Raises ``ClientProtocolError``, ``ClientAuthError``, what fetching raises,
    and ``EOFError`` when the client leaves.
    """
    profile: TargetProfile = yield FetchTarget()
    offer = offered(profile, tls=arrival.tls_available)
    asking = Asking(arrival, nonce, keys, _first_plugin(profile))
    yield from asking.send(_greeting(profile, offer, arrival.number, asking))
    tls, response = yield from _response(asking, offer)
    if arrival.tls_required and tls is None:
        raise TlsRequired(
            "Connections using insecure transport are prohibited while require_tls = true"
        )
    asking.encrypted = tls is not None
    asking.switches = bool(response.capabilities & CLIENT_PLUGIN_AUTH)
    user, database = _name(response.user), _name(response.database)
    plugin = response.plugin if asking.switches else auth.NATIVE
    yield from asking.authenticate(user, database, plugin, response.auth_response)
    proven = tls is not None and is_proven_by(profile.server_version)
    return ClientLogin(
        user=user,
        database=database,
        facts=ClientFacts(
            capabilities=response.capabilities & offer,
            sequence=arrival.sequence,
            collation=response.collation,
            tls=tls,
            proof=asking.proof(tls.own_certificate) if tls is not None and proven else b"",
            nonce=asking.scramble_nonce,
        ),
    )


def _first_plugin(profile: TargetProfile) -> str:
    """The plugin to begin with, for those who do not say which they want."""
    return auth.NATIVE if profile.plugin == auth.NATIVE else auth.CACHING_SHA2


def _greeting(profile: TargetProfile, offer: int, number: int, asking: Asking) -> bytes:
    return wire.handshake_payload(
        wire.HandshakeV10(
            server_version=profile.server_version,
            thread_id=number,
            nonce=asking.nonce,
            capabilities=offer,
            collation=profile.collation,
            status=SERVER_STATUS_AUTOCOMMIT,
            plugin=asking.first_plugin,
        )
    )


def _response(
    asking: Asking, offer: int
) -> Conversation[tuple[TlsFacts | None, wire.HandshakeResponse41]]:
    """Read a client's response, behind TLS if it asks for that."""
    payload = yield from asking.read()
    tls: TlsFacts | None = None
    try:
        if wire.read_capabilities(payload) & CLIENT_SSL and wire.is_ssl_request(payload):
            if not offer & CLIENT_SSL:
                raise BadHandshake("Bad handshake: TLS is not offered here")
            # Clients go on at once: no answer to their request is due.
            tls = yield StartTls(begun=True)
            payload = yield from asking.read()
        response = wire.read_response(payload)
    except BadHandshake:
        raise
    except ProtocolError as error:
        raise BadHandshake(f"Bad handshake: {error}") from error
    if not response.capabilities & CLIENT_PROTOCOL_41:
        raise BadHandshake("Bad handshake: the client does not speak the protocol of MySQL 4.1")
    if response.capabilities & CLIENT_COMPRESS:
        # One that asks without having been offered it may compress from here on.
        raise BadHandshake("Bad handshake: compression is not offered here")
    return tls, response


def _name(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadHandshake("Bad handshake: a name is not UTF-8") from None


def change_user(
    arrival: Arrival,
    facts: ClientFacts,
    payload: bytes,
    nonce: Callable[[int], bytes],
    keys: KeyPair,
) -> Conversation[ClientLogin]:
    """See a client through COM_CHANGE_USER (``payload``); ends ahead of the final OK.

    ``arrival.sequence`` is that of the next packet to the client. Whatever it answered, it is asked
    again: which nonce it took to answer is not certain.
    """
    profile: TargetProfile = yield FetchTarget()
    asking = Asking(arrival, nonce, keys, _first_plugin(profile), facts.nonce)
    asking.encrypted = facts.tls is not None
    asking.switches = bool(facts.capabilities & CLIENT_PLUGIN_AUTH)
    try:
        message = wire.read_change_user(payload, facts.capabilities)
    except ProtocolError as error:
        raise BadHandshake(f"Bad handshake: {error}") from error
    user, database = _name(message.user), _name(message.database)
    yield from asking.authenticate(user, database, "", b"")
    return ClientLogin(
        user=user,
        database=database,
        facts=ClientFacts(
            capabilities=facts.capabilities,
            sequence=arrival.sequence,
            collation=message.collation or facts.collation,
            tls=facts.tls,
            nonce=asking.scramble_nonce,
            again=True,
        ),
    )
