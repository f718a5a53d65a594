"""Runs the application on uvicorn with uvloop, in the foreground or in a thread."""

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
import uvloop

from router_clevertap.sandbox.application import SandboxApplication
from router_clevertap.sandbox.protocol import CuttableProtocol
from router_clevertap.sandbox.settings import SandboxSettings
from router_clevertap.sandbox.state import Sandbox

_SECONDS_TO_FINISH = 3  # for calls under way when the sandbox is stopped


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises OSError, as for a port in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound


def url_of(bound: socket.socket) -> str:
    """The URL under which a bound socket is reached from this machine."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Serving(uvicorn.Server):
    """One run of a sandbox on a bound socket.

    `started` is called when calls are answered. `stop` may be called from any thread and ends the run; calls
    under way get three seconds.
    """

    def __init__(self, settings: SandboxSettings, bound: socket.socket, started: Callable[[], None]) -> None:
        self._sandbox = Sandbox(settings)
        self._socket = bound
        self._tell_started = started
        config = uvicorn.Config(
            SandboxApplication(self._sandbox),
            http=CuttableProtocol,
            ws="none",
            lifespan="off",
            log_config=None,  # logging belongs to the program around a sandbox
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        )
        super().__init__(config)

    def run_to_end(self, *, obey_signals: bool = False) -> None:
        """Serve until `stop`, and with `obey_signals` until SIGTERM or SIGINT."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, contextlib.closing(self._sandbox):
            if obey_signals:
                for number in (signal.SIGTERM, signal.SIGINT):
                    runner.get_loop().add_signal_handler(number, self.stop)
            runner.run(self.serve(sockets=[self._socket]))

    def stop(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would raise the signals again after a clean end; the sandbox ends with code 0 instead."""
        yield
