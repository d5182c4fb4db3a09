"""What an agent does on a machine that was bought: it says when the machine is taken back, and leaves word that its broker was heard."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Metadata(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def say(self, body):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        self.say(b"token")

    def do_GET(self):
        self.say(b'{"action": "terminate", "time": "2026-11-24T18:00:00Z"}')


def test_a_machine_that_is_taken_back_says_so_once(lab):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        lab.settings["spot_notice"] = "http://127.0.0.1:%d" % server.server_port
        lab.hang_up()
        lab.connect()
        told = lab.wait("notice", 0)
        assert told["run"] == 0
        assert told["data"]["preempted_at"] == 1795543200
        lab.hang_up()
        lab.connect()  # the same broker again: nothing new
        lab.settle()
        assert lab.kinds() == ["notice"]
    finally:
        server.shutdown()
        server.server_close()


def test_the_broker_was_heard(lab):
    path = lab.folder / "heard"
    assert path.exists()
    lab.stop()
    os.utime(path, (1000, 1000))
    lab.start()
    lab.settle()
    assert path.stat().st_mtime > 1000
