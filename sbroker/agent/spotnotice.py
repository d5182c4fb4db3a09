"""A machine that may be taken back asks its cloud whether it will be: EC2's metadata (IMDSv2), by sockets of the loop.

    Watch(loop, "http://169.254.169.254", tell)    tell({"text": sentence, "preempted_at": seconds since the epoch}), once

The address comes from the broker, is one of numbers, and is asked every few seconds; whatever it does not answer is asked again.
"""

from . import lean, tcp
from .loop import Stream

EVERY = 5.0  # seconds between questions: of two minutes' notice no more than that is lost
PATIENCE = 4.0  # for one answer
TOKEN_SECONDS = 21600
_LIMIT = 1 << 16  # bytes of an answer


class Watch:
    def __init__(self, loop, url, tell):
        self.loop, self.url, self.tell = loop, url, tell
        self._address, self._port = _place(url)
        self._token = ""
        self._give_up = None
        self._timer = loop.call_later(0, self._ask)

    def close(self):
        self._timer.cancel()
        if self._give_up is not None:
            self._give_up()

    def _ask(self):
        self._timer = self.loop.call_later(EVERY, self._ask)
        if self._give_up is not None:
            return  # the last question is still out
        if self._token:
            self._request("GET", "/latest/meta-data/spot/instance-action", "X-aws-ec2-metadata-token: " + self._token, self._answered)
        else:
            self._request("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: %d" % TOKEN_SECONDS, self._entered)

    def _entered(self, status, body):
        if status == 200:
            self._token = body.decode("ascii", "replace").strip()
            self._timer.cancel()
            self._ask()

    def _answered(self, status, body):
        if status == 401:
            self._token = ""  # it is worn out
        if status != 200:
            return  # 404: it stays ours
        try:
            said = lean.loads(body.decode("utf-8", "replace"))
            at = _seconds(said["time"])
            text = "the cloud takes the machine back at %s (%s)" % (said["time"], said["action"])
        except (ValueError, KeyError, TypeError):
            return
        self.close()
        self.tell({"text": text, "preempted_at": at})

    def _request(self, method, path, header, then):
        """`then(status, body)`; not at all when there is no answer."""
        parts, state = [], {}
        timer = self.loop.call_later(PATIENCE, lambda: end())

        def end(_error=None):
            timer.cancel()
            state["give_up"]()
            if "stream" in state:
                state["stream"].close()
            self._give_up = None

        def connected(sock):
            if sock is None:
                return end()
            stream = state["stream"] = Stream(self.loop, sock, data, closed)
            lines = "%s %s HTTP/1.0" % (method, path), "Host: " + self._address, header, "Content-Length: 0", "", ""
            stream.write("\r\n".join(lines).encode())

        def data(piece):
            parts.append(piece)
            if sum(map(len, parts)) > _LIMIT:
                end()

        def closed(_error):
            end()
            head, _, body = b"".join(parts).partition(b"\r\n\r\n")
            words = head.split(None, 2)
            if len(words) > 1 and words[1].isdigit():
                then(int(words[1]), body)

        state["give_up"] = self._give_up = lambda: None
        state["give_up"] = tcp.connect(self.loop, self._address, self._port, connected)
        self._give_up = end


def _place(url):
    """Address and port. ValueError for what is no http://ADDRESS[:PORT]."""
    if not url.startswith("http://"):
        raise ValueError("%s is not the address of a metadata service: write http://169.254.169.254" % url)
    address, _, port = url[len("http://") :].rstrip("/").partition(":") if "[" not in url else url[len("http://[") :].rstrip("/").partition("]")
    port = port.lstrip(":")
    if not address or not all(letter in "0123456789abcdefABCDEF.:" for letter in address) or not (port or "80").isdigit():
        raise ValueError("%s is not the address of a metadata service: it must be one of numbers" % url)
    return address, int(port or 80)


def _seconds(text):
    """The epoch's, of 2026-11-24T18:00:00Z."""
    import calendar  # when it comes to that
    import time

    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
