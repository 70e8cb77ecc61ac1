"""Downloads one file: by name from a Python package index, with the index settings of the user's pip, or by address."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from lowres.errors import FetchError

if TYPE_CHECKING:
    import requests
    from pypi_simple import DistributionPackage, PyPISimple

TRIES: Final = 3
TIMEOUT: Final = (10.0, 60.0)  # seconds to connect, seconds without a byte
_BLOCK: Final = 1 << 18
T = TypeVar("T")
Progress = Callable[[str, int, int | None], None]
"""Called with the file name, the bytes so far and, if known, the bytes in all."""


def download(
    project: str,
    version: str,
    filename: str,
    target: IO[bytes],
    max_bytes: int,
    progress: Progress | None = None,
) -> None:
    """Write the file into ``target``, which is seekable; what was written is not checked here.

    Raises:
        FetchError: No index has the file, the network is down, or the file is larger than ``max_bytes``.
    """
    import requests
    from pypi_simple import PYPI_SIMPLE_ENDPOINT, NoSuchProjectError, PyPISimple, UnsupportedRepoVersionError

    settings = pip_settings()
    reasons = []
    endpoints = [] if settings.get("no-index") in ("1", "true", "yes", "on") else _endpoints(settings)
    for endpoint in [url or PYPI_SIMPLE_ENDPOINT for url in endpoints]:
        host = urlsplit(endpoint).hostname or "the index"
        try:
            with PyPISimple(endpoint) as client:
                client.s.verify = settings.get("cert") or True
                package = _retried(_find, client, project, filename)
                if package is None:
                    reasons.append(f"{host} does not have it")
                    continue
                _retried(_stream, client.s, package.url, filename, target, max_bytes, progress, package.size)
                return
        except (NoSuchProjectError, UnsupportedRepoVersionError):
            reasons.append(f"{host} does not have it")
        except requests.RequestException as error:
            reasons.append(f"{host}: {_reason(error)}")
    raise FetchError(
        f"cannot fetch {filename} ({project} {version})\n"
        f"{'; '.join(reasons) or 'pip is set to use no index'}\n"
        f"check the network and pip's index settings, or put the file at $LOWRES_MIRROR/pypi/{project}/{filename}"
    )


def download_url(
    url: str, name: str, target: IO[bytes], max_bytes: int, progress: Progress | None = None, advice: str = ""
) -> None:
    """Write what is at an address into ``target``, as ``download`` does.

    Args:
        url: The address.
        name: For messages.
        target: Seekable.
        max_bytes: More is refused.
        progress: Told how far it is.
        advice: The last line of the error if it cannot be had.

    Raises:
        FetchError: It cannot be had, or is larger than ``max_bytes``.
    """
    import requests

    try:
        with requests.Session() as session:
            _retried(_stream, session, url, name, target, max_bytes, progress)
    except requests.RequestException as error:
        lines = (f"cannot fetch {name}", f"{urlsplit(url).hostname}: {_reason(error)}", advice)
        raise FetchError("\n".join(line for line in lines if line)) from None


def reachable() -> bool:
    """Whether the first index answers within seconds."""
    import requests
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    settings = pip_settings()
    if settings.get("no-index") in ("1", "true", "yes", "on"):
        return False
    endpoint = _endpoints(settings)[0] or PYPI_SIMPLE_ENDPOINT
    try:
        answer = requests.head(endpoint.rstrip("/") + "/pip/", timeout=5, verify=settings.get("cert") or True)
    except requests.RequestException:
        return False
    return answer.status_code < 500


def pip_settings() -> dict[str, str]:
    """The index settings of pip (``index-url``, ``extra-index-url``, ``cert``, ``no-index``); the environment wins."""
    names = ("index-url", "extra-index-url", "cert", "no-index")
    ranks = {":env:": 3, "install": 2, "download": 1, "global": 0}
    found: dict[str, tuple[int, str]] = {}
    for line in _pip_config().splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.strip().rpartition(".")
        rank = ranks.get(section, -1)
        if name in names and rank >= found.get(name, (0, ""))[0]:
            found[name] = (rank, value.strip().strip("'\"").replace("\\n", " "))
    settings = {name: value for name, (_, value) in found.items()}
    environment = {name: os.environ.get("PIP_" + name.upper().replace("-", "_"), "") for name in names}
    return settings | {name: value for name, value in environment.items() if value}


def _pip_config() -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # an environment without pip has only the variables
        return ""


def _endpoints(settings: dict[str, str]) -> list[str]:
    return list(dict.fromkeys([settings.get("index-url", ""), *settings.get("extra-index-url", "").split()]))


def _find(client: PyPISimple, project: str, filename: str) -> DistributionPackage | None:
    page = client.get_project_page(project, timeout=TIMEOUT)
    return next((package for package in page.packages if package.filename == filename), None)


def _stream(
    session: requests.Session,
    url: str,
    name: str,
    target: IO[bytes],
    max_bytes: int,
    progress: Progress | None,
    size: int | None = None,
) -> None:
    target.seek(0)
    target.truncate()
    done = 0
    with session.get(url, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else size
        for block in response.iter_content(_BLOCK):
            done += len(block)
            if done > max_bytes:
                raise FetchError(f"{name} is larger than {max_bytes} bytes, which is not expected")
            target.write(block)
            if progress is not None:
                progress(name, done, total)


def _retried(action: Callable[..., T], *arguments: Any) -> T:
    """The result of a call over the network, tried again if that may help."""
    import requests

    for attempt in range(TRIES):
        try:
            return action(*arguments)
        except requests.RequestException as error:
            if attempt == TRIES - 1 or not _passing(error):
                raise
            time.sleep(0.5 * 2**attempt)
    raise AssertionError("unreachable")


def _passing(error: Any) -> bool:
    """Whether trying again may help."""
    import requests

    status = getattr(error.response, "status_code", None)
    if status is not None:
        return bool(status == 429 or status >= 500)
    return isinstance(error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError)


def _reason(error: Any) -> str:
    """What went wrong, without an address, which may hold a password."""
    status = getattr(error.response, "status_code", None)
    return f"HTTP status {status}" if status is not None else f"no connection ({type(error).__name__})"
