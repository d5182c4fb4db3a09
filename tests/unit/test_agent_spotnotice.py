"""The agent's question whether its machine is taken back, against a metadata service that has its moods."""

from __future__ import annotations

import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from sbroker.agent import spotnotice
from sbroker.agent.loop import Loop

NOTICE = '{"action": "terminate", "time": "2026-11-24T18:00:00Z"}'


@pytest.fixture
def service():
    """`answers`: [status, body] of the next questions, the last one for ever; `asked`: (method, path, token)."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def answer(self):
            server.asked.append((self.command, self.path, self.headers.get("X-aws-ec2-metadata-token")))
            if self.command == "PUT":
                status, body = 200, "token%d" % len(server.asked)
            else:
                status, body = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
            if status is None:
                return self.wfile.write(b"nothing that is HTTP\r\n\r\n")
            self.send_response(status)
            self.end_headers()
            return self.wfile.write(body.encode())

        do_GET = do_PUT = answer

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked, server.answers = [], [(404, "")]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def watch(server, monkeypatch, turns=400):
    monkeypatch.setattr(spotnotice, "EVERY", 0.01)
    loop, told = Loop(), []
    try:
        made = spotnotice.Watch(loop, "http://127.0.0.1:%d" % server.server_address[1], told.append)
        for _ in range(turns):
            loop.turn(0.05)
            if told or not server.answers:
                break
        made.close()
        for _ in range(5):
            loop.turn(0.02)
    finally:
        loop.close()
    return told


def test_a_notice_is_told_once(service, monkeypatch):
    service.answers = [(404, ""), (404, ""), (200, NOTICE)]
    told = watch(service, monkeypatch)
    assert told == [{"text": "the cloud takes the machine back at 2026-11-24T18:00:00Z (terminate)", "preempted_at": 1795543200}]
    assert service.asked[0][:2] == ("PUT", "/latest/api/token")
    assert {path for _, path, token in service.asked[1:]} == {"/latest/meta-data/spot/instance-action"}
    assert {token for _, _, token in service.asked[1:]} == {"token1"}


def test_a_worn_token_is_renewed_and_rubbish_is_none(service, monkeypatch):
    service.answers = [(401, ""), (500, "x"), (200, "no json"), (200, '{"action": 1}'), (None, ""), (200, NOTICE)]
    assert len(watch(service, monkeypatch)) == 1
    assert sum(method == "PUT" for method, _, _ in service.asked) == 2


def test_nobody_there_is_asked_again(service, monkeypatch):
    service.server_close()
    loop, told = Loop(), []
    monkeypatch.setattr(spotnotice, "EVERY", 0.01)
    made = spotnotice.Watch(loop, "http://127.0.0.1:%d" % service.server_address[1], told.append)
    for _ in range(20):
        loop.turn(0.02)
    made.close()
    loop.close()
    assert told == []


@pytest.mark.parametrize("url", ["https://169.254.169.254", "http://metadata.internal", "http://", "http://1.2.3.4:x", "ftp://1.2.3.4"])
def test_addresses_that_are_none(url):
    with pytest.raises(ValueError, match="metadata service"):
        spotnotice.Watch(None, url, None)


def test_places():
    assert spotnotice._place("http://169.254.169.254") == ("169.254.169.254", 80)
    assert spotnotice._place("http://10.0.0.1:5001/") == ("10.0.0.1", 5001)
    assert spotnotice._place("http://[fd00:ec2::254]") == ("fd00:ec2::254", 80)
    assert spotnotice._place("http://[fd00:ec2::254]:81") == ("fd00:ec2::254", 81)
