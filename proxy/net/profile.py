"""What a target's servers say of themselves, for engines whose server speaks first.

It is learned from every connection that a pool opens. Only a proxy that has opened none yet asks a
server for it: logged in, as a server counts visitors that leave before against their host.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from proxy.errors import CredentialError, ProxyError
from proxy.net.runtime import spawn

if TYPE_CHECKING:
    from proxy.net.gateway import Gateway


class Profile:
    """The profile of one proxy's target."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._known: Any = None
        self._asking: asyncio.Task[ProxyError | None] | None = None

    def learn(self, profile: Any) -> None:
        """Take note of what a server has said; ``None`` is nothing."""
        if profile is not None:
            self._known = profile

    async def get(self) -> Any:
        """Give the profile. All who wait share one visit. Raises what ``Dialer`` raises."""
        if self._known is None:
            if self._asking is None:
                self._asking = spawn(self._ask(), "learn target")
            asking = self._asking
            # Unlike awaiting it, this leaves the task alone when the caller is cancelled.
            await asyncio.wait({asking})
            error = asking.result()
            if error is not None:
                raise error.with_traceback(None)
        return self._known

    async def _ask(self) -> ProxyError | None:
        try:
            try:
                plan = await self._gateway.opener.visiting_plan()
            except CredentialError:
                plan = None
            self.learn(await self._gateway.dialer.learn_target(plan))
        except ProxyError as error:
            return error
        else:
            return None
        finally:
            self._asking = None
