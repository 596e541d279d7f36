import dataclasses
import errno
import hashlib
import io
import os
import socket
import threading
import time
from email.message import Message
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request

import pytest
from rich.console import Console
from rich.filesize import decimal

import equimorph.data.download as module
from equimorph.data.download import Remote, download
from equimorph.errors import ConfigurationError, DataError

CONTENT = bytes(range(256)) * 400
HALF = len(CONTENT) // 2
OTHER = CONTENT[::-1]


class Server(ThreadingHTTPServer):
    """Serves one file, and can be told to misbehave; remembers the ranges asked for and the bytes served."""

    daemon_threads = False  # server_close waits for them, so that no socket stays open

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.ranges, self.served, self.stopped = CONTENT, [], [], threading.Event()
        self.knows_ranges, self.tells_length, self.starts_late = True, True, 0
        self.breaks_after, self.num_breaks, self.stalls = HALF, 0, False
        self.answers = []  # status codes for the first requests
        self.location = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/files/data.bin"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        if self.path == "/moved":
            self.answer(302, Location=server.location or server.url)
        elif server.answers:
            self.answer(server.answers.pop(0))
        else:
            self.serve(server)

    def do_HEAD(self):
        server = self.server
        if server.answers:
            self.answer(server.answers.pop(0))
        else:
            self.answer(200, **({"Content_Length": str(len(server.content))} if server.tells_length else {}))

    def answer(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def serve(self, server):
        total, asked = len(server.content), self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.knows_ranges else 0
        if start >= total:
            return self.answer(416, Content_Range=f"bytes */{total}")
        headers = {"Content_Length": str(total - start)} if server.tells_length else {}
        if asked and server.knows_ranges:
            start += server.starts_late
            self.answer(206, Content_Range=f"bytes {start}-{total - 1}/{total}", **headers)
        else:
            self.answer(200, **headers)
        return self.send(server, server.content[start:])

    def send(self, server, rest):
        if server.num_breaks:
            server.num_breaks -= 1
            rest = rest[: server.breaks_after]
        server.served.append(len(rest))
        self.wfile.write(rest)
        if server.stalls:
            server.stalls = False
            server.stopped.wait(5)

    def log_message(self, *args):
        pass


class Pauses(list):
    """Stands for time.sleep, and remembers how long it should have slept."""

    def __call__(self, seconds):
        self.append(seconds)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def pauses():
    return Pauses()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.bin"


@pytest.fixture
def partial(path):
    return path.with_name("data.bin.partial")


@pytest.fixture
def fetch(server, path, pauses):
    """Download from the server; what was printed comes back."""

    def fetch(url=None, path=path, content=CONTENT, sleep=pauses):
        console = Console(file=io.StringIO(), width=60)
        assert download(remote_of(url or server.url, content), path, console=console, sleep=sleep) == path
        return console.file.getvalue()

    return fetch


def remote_of(url, content=CONTENT):
    return Remote(url, checksum_of(content), len(content), licence="CC BY 4.0 [see README]")


def checksum_of(content):
    return hashlib.sha256(content).hexdigest()


def unused_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_the_file_arrives_whole_in_a_folder_made_for_it(fetch, tmp_path, server):
    path = tmp_path / "new" / "folder" / "data.bin"
    fetch(path=path)
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["data.bin"]
    assert server.ranges == [None]


def test_one_line_tells_what_is_fetched_from_where_how_large_under_which_licence_and_to_where(fetch, server, path):
    line, *rest = fetch().splitlines()
    told = f"fetching data.bin from {server.url} (102.4 kB, licence: CC BY 4.0 [see README]) to {path}"
    assert line == told
    assert rest


def test_it_is_announced_on_standard_error_where_no_console_is_given(server, path, capsys):
    download(remote_of(server.url), path)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"fetching data.bin from {server.url} ")


def test_it_is_announced_before_the_network_is_used(path):
    console = Console(file=io.StringIO())
    with pytest.raises(DataError):
        download(remote_of(f"http://127.0.0.1:{unused_port()}/data.bin"), path, console=console)
    assert console.file.getvalue().startswith("fetching data.bin from ")


def test_a_checksum_may_be_in_capitals(server, path):
    remote = Remote(server.url, checksum_of(CONTENT).upper(), len(CONTENT), "CC0")
    download(remote, path, console=Console(file=io.StringIO()))
    assert download(remote, path).read_bytes() == CONTENT


def test_resuming_asks_only_for_the_rest(fetch, server, path, partial):
    partial.write_bytes(CONTENT[:1000])
    printed = fetch()
    assert server.ranges == ["bytes=1000-"]
    assert server.served == [len(CONTENT) - 1000]
    assert path.read_bytes() == CONTENT
    assert not partial.exists()
    assert "; going on after 1.0 kB" in printed


def test_a_server_without_ranges_starts_from_zero(fetch, server, path, partial):
    server.knows_ranges = False
    partial.write_bytes(OTHER[:1000])
    fetch()
    assert server.ranges == ["bytes=1000-"]
    assert path.read_bytes() == CONTENT


def test_what_was_there_before_a_start_from_zero_does_not_count_as_received(fetch, server, path, partial):
    server.knows_ranges, server.num_breaks, server.breaks_after = False, 1, 1000
    partial.write_bytes(OTHER[:2000])
    fetch()
    assert server.ranges == ["bytes=2000-", "bytes=1000-"]
    assert path.read_bytes() == CONTENT


def test_a_server_that_sends_another_range_is_asked_for_the_whole(fetch, server, path, partial):
    server.starts_late = 10
    partial.write_bytes(CONTENT[:1000])
    fetch()
    assert server.ranges == ["bytes=1000-", None]
    assert path.read_bytes() == CONTENT


def test_a_complete_partial_needs_no_network(fetch, server, path, partial):
    partial.write_bytes(CONTENT)
    fetch()
    assert server.ranges == []
    assert path.read_bytes() == CONTENT


def test_a_range_that_the_server_cannot_serve_is_given_up_for_the_whole(fetch, server, path, partial):
    server.answers = [416]
    partial.write_bytes(CONTENT[:1000])
    fetch()
    assert server.ranges == ["bytes=1000-", None]
    assert path.read_bytes() == CONTENT


def test_a_partial_longer_than_the_file_is_discarded(fetch, server, path, partial):
    partial.write_bytes(OTHER + b"more")
    assert "going on" not in fetch()
    assert server.ranges == [None]
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("begun", [OTHER[:1000], OTHER], ids=["a piece", "complete"])
def test_a_resumed_file_with_a_wrong_checksum_is_fetched_anew(fetch, server, path, partial, begun):
    partial.write_bytes(begun)
    printed = fetch()
    assert server.ranges[-1] is None
    assert len(server.ranges) == 1 + (len(begun) < len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert "fetching all of it anew" in printed


def test_a_server_that_tells_no_length_is_believed_when_the_checksum_matches(fetch, server, path):
    server.tells_length = False
    fetch()
    assert path.read_bytes() == CONTENT


def test_no_more_bytes_are_taken_than_the_file_has(fetch, server, path):
    server.tells_length, server.content = False, CONTENT + b"more"
    fetch()
    assert path.read_bytes() == CONTENT


def test_a_broken_connection_is_taken_up_where_it_broke(fetch, server, path, pauses):
    server.num_breaks = 1
    printed = fetch()
    assert server.ranges == [None, f"bytes={HALF}-"]
    assert server.served == [HALF, HALF]
    assert pauses == [1.0]
    assert path.read_bytes() == CONTENT
    assert f"{server.url}: the connection broke; trying again in 1 s" in printed


def test_a_connection_that_falls_silent_is_taken_up_again(fetch, server, path, monkeypatch):
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 0.4)
    server.num_breaks, server.stalls = 1, True
    assert "timed out; trying again in 1 s" in fetch()
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(fetch, server, path, pauses, status):
    server.answers = [status, status]
    fetch()
    assert pauses == [1.0, 2.0]
    assert path.read_bytes() == CONTENT


def test_a_network_that_goes_away_and_returns_is_waited_for(fetch, server, path, partial, monkeypatch):
    server.num_breaks, port = 1, unused_port()
    here, away = server.url, f"http://127.0.0.1:{port}/data.bin"
    asked = iter([here, away, here])
    monkeypatch.setattr(module, "Request", lambda url, headers: Request(next(asked), headers=headers))
    printed = fetch()
    assert "no connection (Connection refused); trying again in 2 s" in printed
    assert path.read_bytes() == CONTENT


def test_after_three_retries_the_message_says_how_far_it_got_and_that_one_can_go_on(fetch, server, partial, pauses):
    server.num_breaks, server.breaks_after = 4, 1000
    with pytest.raises(DataError) as caught:
        fetch()
    assert str(caught.value) == (
        f"download: {server.url} failed 4 times, the last time: the connection broke; "
        f"4,000 of 102,400 bytes are in {partial}. Call again to go on from there."
    )
    assert pauses == [1.0, 2.0, 4.0]
    assert partial.read_bytes() == CONTENT[:4000]


def test_the_call_after_one_that_failed_goes_on_from_there(fetch, server, path):
    server.num_breaks, server.breaks_after = 4, 1000
    with pytest.raises(DataError):
        fetch()
    fetch()
    assert server.ranges[-1] == "bytes=4000-"
    assert path.read_bytes() == CONTENT


def test_a_wrong_checksum_is_told_with_both_sums_and_nothing_is_kept(fetch, server, path):
    server.content = OTHER
    with pytest.raises(DataError) as caught:
        fetch()
    assert f"has SHA-256 {checksum_of(OTHER)}, expected {checksum_of(CONTENT)}" in str(caught.value)
    assert server.ranges == [None]
    assert list(path.parent.iterdir()) == []


def test_a_wrong_checksum_after_resuming_fails_at_the_second_time(fetch, server, path, partial):
    server.content = OTHER
    partial.write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match=checksum_of(OTHER)):
        fetch()
    assert server.ranges == ["bytes=1000-", None]
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_file_of_another_length_is_refused_before_the_partial_is_touched(fetch, server, partial, knows_ranges):
    server.content, server.knows_ranges = OTHER[:5000], knows_ranges
    partial.write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match=r"offers 5,000 bytes, expected 102,400; see in a browser"):
        fetch()
    assert partial.read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_address_that_does_not_hold_is_told_at_once(fetch, server, path, pauses, status):
    server.answers = [status]
    with pytest.raises(DataError, match=rf"download: {server.url} answered {status} [A-Z]\w+.*; see in a browser"):
        fetch()
    assert pauses == []
    assert list(path.parent.iterdir()) == []


def test_no_network_is_told_at_once(fetch, path, pauses):
    port = unused_port()
    with pytest.raises(DataError, match=rf"no connection to 127.0.0.1:{port} \(Connection refused\), which has http"):
        fetch(url=f"http://127.0.0.1:{port}/data.bin")
    assert pauses == []
    assert list(path.parent.iterdir()) == []


def test_a_good_file_that_is_there_needs_no_network_and_no_word(fetch, server, path):
    path.write_bytes(CONTENT)
    assert fetch() == ""
    assert server.ranges == []


def test_another_file_that_is_there_is_never_overwritten(fetch, server, path):
    path.write_bytes(b"mine")
    with pytest.raises(DataError) as caught:
        fetch()
    assert f"{path} is there already with SHA-256 {checksum_of(b'mine')}, expected" in str(caught.value)
    assert path.read_bytes() == b"mine"
    assert server.ranges == []


def test_another_file_that_appears_meanwhile_is_not_overwritten(fetch, server, path, partial):
    server.num_breaks = 1
    with pytest.raises(DataError, match="is there already"):
        fetch(sleep=lambda seconds: path.write_bytes(b"mine"))
    assert path.read_bytes() == b"mine"
    assert partial.read_bytes() == CONTENT


def test_the_same_file_that_appears_meanwhile_is_no_fault(fetch, server, path, partial):
    server.num_breaks = 1
    fetch(sleep=lambda seconds: path.write_bytes(CONTENT))
    assert path.read_bytes() == CONTENT
    assert not partial.exists()


def test_a_folder_in_the_place_of_the_file_is_told(fetch, path):
    path.mkdir()
    with pytest.raises(DataError, match=r"data.bin cannot be read \(Is a directory\)"):
        fetch()


def test_a_redirect_is_followed_and_keeps_the_range(fetch, server, path, partial):
    partial.write_bytes(CONTENT[:1000])
    fetch(url=server.url.replace("files/data.bin", "moved"))
    assert server.ranges == ["bytes=1000-", "bytes=1000-"]
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/data.bin", "data:text/plain,hello"])
def test_a_redirect_to_another_scheme_is_refused(fetch, server, path, target):
    server.location = target
    with pytest.raises(DataError, match=rf"/moved redirects to {target}, which is not followed; needed is an address"):
        fetch(url=server.url.replace("files/data.bin", "moved"))
    assert list(path.parent.iterdir()) == []


def test_a_redirect_from_https_to_http_is_refused():
    headers, body = Message(), io.BytesIO()
    headers["Location"] = "http://example.org/data.bin"
    with pytest.raises(DataError, match="needed is an address with https"):
        module._Redirects().http_error_302(Request("https://example.org/"), body, 302, "Found", headers)
    assert body.closed


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/a", "data.bin", "https://", ""])
def test_only_web_addresses_are_accepted(url):
    with pytest.raises(DataError, match="is no http or https address"):
        remote_of(url)


@pytest.mark.parametrize(("sha256", "size_bytes"), [("abc", 5), ("g" * 64, 5), ("a" * 64, 0)])
def test_a_checksum_and_a_length_that_cannot_be_are_refused(sha256, size_bytes):
    with pytest.raises(ConfigurationError, match="download: "):
        Remote("https://example.org/a", sha256, size_bytes, "CC0")


def test_too_small_a_disk_is_told_before_the_network_is_used(fetch, server, path, partial, monkeypatch):
    partial.write_bytes(CONTENT[:2400])
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 99_999})())
    with pytest.raises(DataError, match=rf"needs 100.0 kB and {path.parent} has 100.0 kB free; make room"):
        fetch()
    assert server.ranges == []


def test_a_disk_with_room_for_the_rest_is_enough(fetch, path, partial, monkeypatch):
    partial.write_bytes(CONTENT[:2400])
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 100_000})())
    fetch()
    assert path.read_bytes() == CONTENT


def test_a_disk_that_fills_up_keeps_what_was_written(fetch, server, partial, monkeypatch):
    def block_and_full(response, limit_bytes):
        yield response.read1(1000)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_blocks", block_and_full)
    with pytest.raises(DataError, match=r"partial cannot be written \(No space left on device\); make room"):
        fetch()
    assert CONTENT.startswith(partial.read_bytes())
    assert partial.stat().st_size > 0


def test_a_folder_that_cannot_be_made_is_told(fetch, tmp_path, server):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=rf"download: {tmp_path / 'file'} cannot be written \("):
        fetch(path=tmp_path / "file" / "data.bin")
    assert server.ranges == []


def test_a_folder_that_cannot_be_written_to_is_told(fetch, path, server, monkeypatch):
    monkeypatch.setattr(os, "access", lambda folder, mode: folder != path.parent)  # root may write everywhere
    with pytest.raises(DataError, match=rf"download: {path.parent} cannot be written \(Permission denied\)"):
        fetch()
    assert server.ranges == []


def test_a_partial_that_cannot_be_written_is_told(fetch, partial):
    partial.mkdir()
    with pytest.raises(DataError, match=r"data.bin.partial cannot be written \(Is a directory\)"):
        fetch()


def test_ctrl_c_keeps_what_came_so_that_the_next_call_goes_on(fetch, server, path, partial, monkeypatch):
    def interrupted(response, size, *, read=HTTPResponse.read1):
        if partial.exists() and sizes:
            raise KeyboardInterrupt
        sizes.append(size)
        return read(response, 1000)

    sizes = []
    with monkeypatch.context() as patch:
        patch.setattr(HTTPResponse, "read1", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch()
    num_bytes = partial.stat().st_size
    assert 0 < num_bytes <= 1000
    assert not path.exists()
    fetch()
    assert server.ranges == [None, f"bytes={num_bytes}-"]
    assert path.read_bytes() == CONTENT


def test_pauses_are_slept_unless_one_says_otherwise():
    assert download.__kwdefaults__["sleep"] is time.sleep


def test_a_length_that_nobody_published_is_asked_of_the_server(server, path, pauses):
    remote = dataclasses.replace(remote_of(server.url, CONTENT), size_bytes=None)
    console = Console(file=io.StringIO(), width=60)
    assert download(remote, path, console=console, sleep=pauses).read_bytes() == CONTENT
    assert decimal(len(CONTENT)) in console.file.getvalue()


def test_a_length_that_nobody_tells_is_an_error(server, path, pauses):
    server.tells_length = False
    remote = dataclasses.replace(remote_of(server.url, CONTENT), size_bytes=None)
    with pytest.raises(DataError, match="does not say how large it is"):
        download(remote, path, sleep=pauses)


def test_a_server_that_refuses_to_tell_the_length_is_named(server, path, pauses):
    server.answers = [404]
    remote = dataclasses.replace(remote_of(server.url, CONTENT), size_bytes=None)
    with pytest.raises(DataError, match="answered 404"):
        download(remote, path, sleep=pauses)
