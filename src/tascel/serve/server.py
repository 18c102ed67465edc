"""uvicorn around the app: one process, one model, an orderly end."""

from __future__ import annotations

import socket
from time import monotonic
from types import FrameType

import uvicorn

from tascel.serve.app import App
from tascel.serve.limits import Limits


class Server(uvicorn.Server):
    """Told to end, it answers what is under way and refuses what is new; told twice, it gives up.

    Exits as if nothing had happened: no signal is raised again afterwards.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        super().__init__(
            uvicorn.Config(
                app.asgi,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=5,
                server_header=False,
            )
        )
        self._service, self._drain = app.service, limits.drain
        self._until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: uvicorn's hook."""
        if self._until is None:
            self._service.draining = True
            self._until = monotonic() + self._drain
        elif not self.should_exit:
            self._until = 0.0
        else:
            self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: uvicorn's hook. True ends the server."""
        if self._until is not None and (self._service.idle or monotonic() > self._until):
            self._service.give_up()
            self.should_exit = True
        return await super().on_tick(counter)


def bind(host: str, port: int, limits: Limits) -> socket.socket:
    """A socket with its address, that the server can listen on; port 0 takes any that is free.

    Raises:
        OSError: the address cannot be had.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # A reader that takes nothing for so long is cut off, with what is buffered for it.
            stall = int(limits.stall * 1000)
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stall)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
