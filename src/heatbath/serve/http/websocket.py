"""uvicorn's WebSocket protocol with a limit on clients that stall, in a file of its own for its imports.

They are made when the first client upgrades, so that a server that has none starts without them.
"""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from heatbath.serve.http.write_timeout import WriteTimeout


def build_websocket_protocol(write_timeout: float) -> type[WebSocketsSansIOProtocol]:
    """Return the class of upgraded connections, whose clients must read within `write_timeout` seconds."""
    return type("BoundedWebSocketProtocol", (BoundedWebSocketProtocol,), {"write_timeout": write_timeout})


class BoundedWebSocketProtocol(WriteTimeout, WebSocketsSansIOProtocol):
    """One upgraded connection."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.cancel_stall_timer()
        super().connection_lost(exc)
