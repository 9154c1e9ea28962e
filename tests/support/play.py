"""Plays a conversation over plain bytes: no loop, no sockets."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from proxy.errors import ClientProtocolError, ProxyError
from proxy.wire.steps import Command, Fetch, FetchTarget, InThread, Read, Send, StartTls, TlsFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.wire.steps import Conversation

T = TypeVar("T")


class Player(Generic[T]):
    """Runs a conversation as far as the bytes fed to it allow.

    ``tls`` is what ``StartTls`` establishes, ``fetch`` what ``Fetch`` and ``FetchTarget``
    are answered with.
    """

    def __init__(
        self,
        conversation: Conversation[T],
        *,
        tls: TlsFacts | None = None,
        fetch: Callable[[Any], Any] | None = None,
    ) -> None:
        self._conversation = conversation
        self._tls = tls
        self._fetch = fetch
        self._buffer = b""
        self._sent = b""
        self._ended = False
        self._step: Callable[[], Command] = partial(conversation.send, None)
        self._pending: Command | None = None
        self.done = False
        self.tls_after: list[bytes] = []
        """What had been sent, since the last ``feed`` began, when each TLS handshake started."""
        self.result: T
        self._advance()

    @property
    def unread(self) -> bytes:
        """Bytes fed that the conversation did not ask for."""
        return self._buffer

    @property
    def opening(self) -> bytes:
        """Give, once, what was sent before anything was fed."""
        sent, self._sent = self._sent, b""
        return sent

    def feed(self, data: bytes) -> bytes:
        """Let bytes arrive; give what was sent in answer. Raises what the conversation raises."""
        self._buffer += data
        self._advance()
        return self.opening

    def end(self) -> None:
        """Let the peer close."""
        self._ended = True
        self._advance()

    def _advance(self) -> None:
        while not self.done:
            if self._pending is None:
                try:
                    self._pending = self._step()
                except StopIteration as stop:
                    self.result = stop.value
                    self.done = True
                    return
            try:
                answered, answer = self._answer(self._pending)
            except (ProxyError, EOFError) as error:
                self._step = partial(self._conversation.throw, error)
            else:
                if not answered:
                    return
                self._step = partial(self._conversation.send, answer)
            self._pending = None

    def _answer(self, command: Command) -> tuple[bool, Any]:
        """Give whether there is an answer yet, and the answer."""
        if isinstance(command, Send):
            self._sent += command.data
            return True, None
        if isinstance(command, Fetch | FetchTarget):
            assert self._fetch is not None, "not expected to fetch"
            return True, self._fetch(command)
        if isinstance(command, InThread):
            return True, command.work()
        if isinstance(command, StartTls):
            assert self._tls is not None, "not expected to start TLS"
            if self._buffer and not command.begun:
                raise ClientProtocolError("received unencrypted data")
            self.tls_after.append(self._sent)
            return True, self._tls
        assert isinstance(command, Read)
        if len(self._buffer) >= command.size_bytes:
            data = self._buffer[: command.size_bytes]
            self._buffer = self._buffer[command.size_bytes :]
            return True, data
        if self._ended:
            raise ClientProtocolError("cut") if self._buffer else EOFError
        return False, None


def converse(one: Player[Any], other: Player[Any]) -> None:
    """Let two conversations talk to each other until both have nothing more to say."""
    to_other = one.opening
    to_one = other.opening
    while to_other or to_one:
        heard, to_other = to_other, b""
        answered = other.feed(heard) if heard else b""
        heard, to_one = to_one + answered, b""
        to_other = one.feed(heard) if heard else b""
