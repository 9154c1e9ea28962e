"""Who hears of what happens to sessions.

Not compiled, unlike the links that call it: the application derives from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.session.client_link import ClientLink
    from proxy.session.server_link import ServerLink


class Journal:
    """Hears of what happens to sessions; the application logs it. This one is silent."""

    debug = False
    """Whether borrows, returns and pins are to be told at all."""

    def client_closed(self, client: ClientLink, reason: str) -> None:
        """A client connection ended."""

    def borrowed(self, client: ClientLink, server: ServerLink) -> None:
        """A client borrowed a server connection (only if ``debug``)."""

    def returned(self, client: ClientLink, server: ServerLink) -> None:
        """A client returned a server connection (only if ``debug``)."""

    def pinned(self, client: ClientLink, server: ServerLink, reason: str) -> None:
        """A session keeps its server connection from now on."""

    def unpinned(self, client: ClientLink, server: ServerLink, reason: str) -> None:
        """The state that pinned a session is gone."""

    def server_closed(self, server: ServerLink, reason: str) -> None:
        """A server connection is being closed."""

    def server_gone(self, server: ServerLink) -> None:
        """The server has closed a connection on its side, too."""

    def errand(self, client: ClientLink) -> None:
        """A client asks something of the proxy itself (``ClientStream.errand``)."""

    def moves(self, client: ClientLink) -> bool:
        """A session's pin has changed: say whether it is to join another pool instead."""
        return False

    def cancel(self, server: ServerLink) -> None:
        """The query that runs on a server connection is to be cancelled."""
