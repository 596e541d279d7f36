"""Public files, fetched: announced, resumed after a break, and kept only when their checksum is the expected one."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from rich.console import Console
from rich.filesize import decimal

from equimorph.data.download_bar import Bar
from equimorph.errors import ConfigurationError, DataError

_PAUSES_SECONDS = (1.0, 2.0, 4.0)  # one before each retry
_TIMEOUT_SECONDS = 30.0  # without a single byte
_BLOCK_BYTES = 1 << 18
_PASSING = {408, 429, 500, 502, 503, 504}  # answers of a server that is busy now: retried like a broken connection
_HEADERS = {"User-Agent": "equimorph"}
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE = 206, 416


@dataclass(frozen=True)
class Remote:
    """A file that can be had from a public address.

    Args:
        url: Its address, http or https.
        sha256: The checksum of the whole file, 64 hexadecimal digits.
        size_bytes: Its exact length; None where nobody published it, and then what the server says is believed.
        licence: What may be done with it, in a few words.
    Raises:
        DataError: The address is neither http nor https.
        ConfigurationError: The checksum or the length cannot be one.
    """

    url: str
    sha256: str
    size_bytes: int | None
    licence: str

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise DataError(f'download: "{self.url}" is no http or https address; name one that begins with https://.')
        if not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            raise ConfigurationError(f'download: "{self.sha256}" is no SHA-256; it has 64 hexadecimal digits.')
        if self.size_bytes is not None and self.size_bytes < 1:
            raise ConfigurationError(f"download: a file of {self.size_bytes} bytes; name the length of the whole file.")


def download(
    remote: Remote,
    path: Path,
    *,
    console: Console | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Have the file at `path`: at once where it is there already, or else from its address.

    One line tells what is fetched, and a bar how far it is. Bytes go to `path` with ".partial" behind its name, which
    gets its final name when the checksum matches. After a break, or Ctrl-C, the next call goes on where that file ends.
    Two processes should not fetch to the same path at a time.

    Args:
        remote: The file.
        path: Where it should be; missing folders are made.
        console: Where the line and the bar appear; standard error when left out.
        sleep: How to wait some seconds before a retry; for tests.
    Returns:
        `path`.
    Raises:
        DataError: Another file is at `path` (it is left alone); the folder cannot be written to or has too little
            space; the server cannot be reached, refuses, or offers something else; the connection broke four times;
            or the checksum is wrong.
    Example:
        >>> from tempfile import TemporaryDirectory
        >>> hello = Remote("https://example.org/hello", hashlib.sha256(b"hello").hexdigest(), 5, licence="CC0")
        >>> with TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "hello").write_bytes(b"hello")
        ...     download(hello, Path(folder) / "hello").name  # it is there: the network is not used
        'hello'
    """
    if path.exists():
        return _recognized(path, remote)
    partial = path.with_name(path.name + ".partial")
    sized = _sized(remote)
    num_bytes = _prepare(partial, sized)
    console = console or Console(stderr=True)
    _announce(console, sized, path, num_bytes)
    with Bar(console, path.name, sized.size_bytes) as bar:
        _fetch_checked(sized, partial, bar, sleep)
    return _finish(partial, path, sized)


@dataclass(frozen=True)
class _Sized:
    """A remote file whose length is known."""

    url: str
    sha256: str
    size_bytes: int
    licence: str


class _InterruptedError(Exception):
    """A connection that broke, or a server that is busy; says how, and never leaves this module."""


class _Redirects(HTTPRedirectHandler):
    """Follows redirects from http to http or https, and from https to https."""

    def http_error_302(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any) -> Any:
        target = urljoin(req.full_url, headers.get("Location", ""))
        allowed = ("https",) if urlsplit(req.full_url).scheme == "https" else ("http", "https")
        if urlsplit(target).scheme not in allowed:
            fp.close()
            raise DataError(
                f"download: {req.full_url} redirects to {target}, which is not followed; "
                f"needed is an address with {' or '.join(allowed)}."
            )
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _recognized(path: Path, remote: Remote | _Sized) -> Path:
    """The path of a file that is there already, when it is the expected one."""
    found = _checksum(path)
    if found != remote.sha256.lower():
        raise DataError(
            f"download: {path} is there already with SHA-256 {found}, expected {remote.sha256.lower()}; "
            f"it is left as it is. Move it away to fetch {remote.url}."
        )
    return path


def _sized(remote: Remote) -> _Sized:
    """The file with its length, which the server is asked for where it is not known."""
    size_bytes = remote.size_bytes
    if size_bytes is None:
        try:
            with build_opener(_Redirects()).open(
                Request(remote.url, headers=_HEADERS, method="HEAD"), timeout=_TIMEOUT_SECONDS
            ) as response:
                size_bytes = _offered_bytes(response.status, response.headers)
        except HTTPError as error:
            with error:
                raise DataError(
                    f"download: {remote.url} answered {error.code} {error.reason}; try another time."
                ) from None
        except URLError as error:
            raise _unreachable(remote, error) from None
        if size_bytes is None:
            raise DataError(f"download: {remote.url} does not say how large it is; fetch it with a browser.")
    return _Sized(remote.url, remote.sha256, size_bytes, remote.licence)


def _prepare(partial: Path, remote: _Sized) -> int:
    """Make the folder and see that the file fits; how many bytes are there from an earlier call."""
    folder = partial.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _length(partial) > remote.size_bytes:
            partial.unlink()
        num_bytes, free_bytes = _length(partial), shutil.disk_usage(folder).free
    except OSError as error:
        raise _not_writable(folder, error) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _not_writable(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    if free_bytes < remote.size_bytes - num_bytes:
        raise DataError(
            f"download: {remote.url} needs {decimal(remote.size_bytes - num_bytes)} and {folder} has "
            f"{decimal(free_bytes)} free; make room, or name another folder."
        )
    return num_bytes


def _announce(console: Console, remote: _Sized, path: Path, num_bytes: int) -> None:
    resumed = f"; going on after {decimal(num_bytes)}" if num_bytes else ""
    console.print(
        f"fetching {path.name} from {remote.url} ({decimal(remote.size_bytes)}, licence: {remote.licence}) "
        f"to {path}{resumed}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _fetch_checked(remote: _Sized, partial: Path, bar: Bar, sleep: Callable[[float], None]) -> None:
    """Fetch the file; when it was put together from pieces and the checksum is wrong, once more in one go."""
    for last in (False, True):
        resumed = _fetch(remote, partial, bar, sleep)
        bar.checking()
        found = _checksum(partial)
        if found == remote.sha256.lower():
            return
        partial.unlink(missing_ok=True)
        if last or not resumed:
            raise DataError(
                f"download: what came from {remote.url} has SHA-256 {found}, expected {remote.sha256.lower()}; "
                "it is thrown away. Call again; if it stays so, the file there is another one by now."
            )
        bar.say(f"the checksum of {partial} is wrong; fetching all of it anew")


def _fetch(remote: _Sized, partial: Path, bar: Bar, sleep: Callable[[float], None]) -> bool:
    """Fetch what is missing, with retries; whether it was put behind bytes that came before."""
    reason = ""
    for pause in (0.0, *_PAUSES_SECONDS):
        if pause:
            bar.say(f"{remote.url}: {reason}; trying again in {pause:g} s")
            sleep(pause)
        try:
            return _receive(remote, partial, bar)
        except URLError as error:
            if not pause:
                raise _unreachable(remote, error) from None
            reason = f"no connection ({_words(error)})"
        except _InterruptedError as error:
            reason = str(error)
    raise DataError(
        f"download: {remote.url} failed {1 + len(_PAUSES_SECONDS)} times, the last time: {reason}; "
        f"{_length(partial):,} of {remote.size_bytes:,} bytes are in {partial}. Call again to go on from there."
    )


def _receive(remote: _Sized, partial: Path, bar: Bar) -> bool:
    """Fetch what is missing over one connection; whether there were bytes already that are still of use."""
    start = _length(partial)
    if start < remote.size_bytes:
        response, start = _open(remote, start)
        with response:
            _check_offer(response, remote)
            bar.begin(start)
            _store(_blocks(response, remote.size_bytes - start), partial, start, bar)
        if _length(partial) < remote.size_bytes:
            raise _InterruptedError("the connection broke")
    else:
        bar.begin(start)
    return start > 0


def _open(remote: _Sized, start: int) -> tuple[HTTPResponse, int]:
    """The answer with the bytes from `start` on, or from 0 where the server will not; and which of the two it is."""
    headers = {**_HEADERS, **({"Range": f"bytes={start}-"} if start else {})}
    try:
        response: HTTPResponse = build_opener(_Redirects()).open(
            Request(remote.url, headers=headers), timeout=_TIMEOUT_SECONDS
        )
    except HTTPError as error:
        with error:
            if start and error.code == _RANGE_NOT_SATISFIABLE:
                return _open(remote, 0)
            raise _refusal(remote, error) from None
    except (URLError, DataError):
        raise
    except (OSError, HTTPException) as error:  # connected, and then no proper answer
        raise _InterruptedError(_words(error)) from None
    if response.status != _PARTIAL_CONTENT:
        return response, 0
    if start and response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        return response, start
    response.close()
    if start:
        return _open(remote, 0)
    raise DataError(f"download: {remote.url} sends a part of the file when asked for all of it; try another time.")


def _check_offer(response: HTTPResponse, remote: _Sized) -> None:
    """Refuse a file of another length before any of it is written, for instance the login page of a hotel."""
    offered = _offered_bytes(response.status, response.headers)
    if offered is not None and offered != remote.size_bytes:
        raise DataError(
            f"download: {remote.url} offers {offered:,} bytes, expected {remote.size_bytes:,}; see in a browser "
            "whether the network asks for a login, or the file there is another one by now."
        )


def _offered_bytes(status: int, headers: Message) -> int | None:
    """The length of the whole file as the server tells it, None where it does not."""
    part = status == _PARTIAL_CONTENT
    told = headers.get("Content-Range", "").rpartition("/")[2] if part else headers.get("Content-Length", "")
    return int(told) if re.fullmatch("[0-9]+", told) else None


def _blocks(response: HTTPResponse, limit_bytes: int) -> Iterator[bytes]:
    """What comes, as it comes, up to a limit."""
    while limit_bytes > 0:
        try:
            block = response.read1(min(_BLOCK_BYTES, limit_bytes))
        except (OSError, HTTPException) as error:
            raise _InterruptedError(_words(error)) from None
        if not block:
            return
        limit_bytes -= len(block)
        yield block


def _store(blocks: Iterator[bytes], partial: Path, start: int, bar: Bar) -> None:
    """Write the blocks behind the first `start` bytes of the file; what was after those is lost."""
    try:
        with partial.open("r+b" if start else "wb") as file:
            file.seek(start)
            for block in blocks:
                file.write(block)
                bar.advance(len(block))
    except OSError as error:
        raise _not_writable(partial, error) from None


def _finish(partial: Path, path: Path, remote: _Sized) -> Path:
    """Give the checked file its name, unless somebody put one there in the meantime."""
    if path.exists():
        _recognized(path, remote)
    try:
        return partial.replace(path)
    except OSError as error:
        raise _not_writable(path, error) from None


def _length(path: Path) -> int:
    """How many bytes are in a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _checksum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"download: {path} cannot be read ({_words(error)}); move it away, or make it readable."
        ) from None


def _refusal(remote: _Sized, error: HTTPError) -> Exception:
    answer = f"{error.code} {error.reason}".strip()
    if error.code in _PASSING:
        return _InterruptedError(f"the server answered {answer}")
    return DataError(f"download: {remote.url} answered {answer}; see in a browser whether the address still holds.")


def _unreachable(remote: Remote | _Sized, error: URLError) -> DataError:
    host = urlsplit(remote.url).netloc
    return DataError(
        f"download: no connection to {host} ({_words(error)}), which has {remote.url}; see whether there is a network, "
        "or fetch the file on a machine with one."
    )


def _not_writable(path: Path, error: OSError) -> DataError:
    told = _words(error)
    return DataError(f"download: {path} cannot be written ({told}); make room, give permission or name another folder.")


def _words(error: BaseException) -> str:
    """What an error says, without its number, path and wrapping."""
    if isinstance(error, URLError):
        return error.reason if isinstance(error.reason, str) else _words(error.reason)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
