"""A pytest plugin: a test that reaches for the network fails, unless it is marked slow. Loopback and Unix sockets stay."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest

_STATE = {"allowed": False}
_CONNECT, _CONNECT_EX, _LOOK_UP = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


class NetworkUsedError(RuntimeError):
    """No ``OSError``: what asks a network that may be away would take that for an answer."""


def is_near(host: object) -> bool:
    """Whether a host is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name == "localhost":
        return True
    try:
        return ip_address(str(name).split("%")[0]).is_loopback
    except ValueError:
        return False


def install(patch: pytest.MonkeyPatch) -> None:
    """Puts the guard in place until the patch is undone."""

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            inet = self.family in (socket.AF_INET, socket.AF_INET6)
            if inet and not is_near(address[0]) and not _STATE["allowed"]:
                raise NetworkUsedError(f"a test connects to {address}")
            return real(self, address)

        return connect

    def look_up(host: Any, *args: Any, **options: Any) -> Any:
        if not is_near(host) and not _STATE["allowed"]:
            raise NetworkUsedError(f"a test looks up {host}")
        return _LOOK_UP(host, *args, **options)

    patch.setattr(socket.socket, "connect", guarded(_CONNECT))
    patch.setattr(socket.socket, "connect_ex", guarded(_CONNECT_EX))
    patch.setattr(socket, "getaddrinfo", look_up)


def pytest_configure(config: pytest.Config) -> None:
    patch = pytest.MonkeyPatch()
    install(patch)
    config.add_cleanup(patch.undo)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _STATE["allowed"] = item.get_closest_marker("slow") is not None
    try:
        return (yield)
    finally:
        _STATE["allowed"] = False
