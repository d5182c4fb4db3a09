"""The double as servers: the API on one port, control and the instances' metadata on another."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from tests.doubles.cloudhosts import Cloud
from tests.doubles.ec2.backend import Backend
from tests.doubles.ec2.front import Front
from tests.doubles.ec2.machines import Machines


class Server:
    """Both, in threads of this process, until `close`. `port`, `control_port` 0: any; `url` is the endpoint for clients."""

    def __init__(self, cloud: Cloud | None = None, *, delay: float = 0.0, port: int = 0, control_port: int = 0, control_host: str = "127.0.0.1") -> None:
        self.machines = Machines(cloud, delay)
        self.backend = Backend(self.machines)
        self.front = Front(DomainDispatcherApplication(create_backend_app))
        self._api = make_server("127.0.0.1", port, self.front, True, request_handler=_Quiet)
        self._control = ThreadingHTTPServer((control_host, control_port), _handler(self))
        for server in (self._api, self._control):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d" % self._api.server_address[1]
        self.control_port = int(self._control.server_address[1])

    def reset(self) -> None:
        """As new, at the same address."""
        self.backend.reset()
        front = self.front
        front.calls.clear()
        front.__init__(front.inner)  # type: ignore[misc]

    def close(self) -> None:
        for server in (self._api, self._control):
            server.shutdown()
            server.server_close()

    def network(self, region: str, number: int = 0) -> dict[str, Any]:
        """A VPC in the hosts' range with a subnet in each zone of the region: {"vpc": id, "subnets": {zone: id}}."""
        import boto3

        ec2 = boto3.client("ec2", region, endpoint_url=self.url, aws_access_key_id="testing", aws_secret_access_key="testing")
        vpc = ec2.create_vpc(CidrBlock="10.200.0.0/16")["Vpc"]["VpcId"]
        zones = [zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"]]
        subnets = {}
        for index, zone in enumerate(zones[:4]):
            block = "10.200.%d.0/20" % (16 * (1 + index + 4 * number))
            subnets[zone] = ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=zone)["Subnet"]["SubnetId"]
        return {"vpc": vpc, "subnets": subnets}

    def control(self, what: str, said: dict[str, Any]) -> Any:
        """What a POST to /_double/WHAT does."""
        match what:
            case "capacity":
                self.backend.capacity.update(said)
            case "interrupt":
                self.backend.interrupt(said["id"], float(said.get("notice", 120)))
            case "boot":
                self.machines.delay = float(said["delay"])
            case "lose":
                self.front.lose.update(said)
            case "fail":
                self.front.fail.update(said)
            case "quotas":
                self.front.quotas.update(said)
            case "calls":
                return dict(self.front.calls)
            case "states":
                return {one.id: one._state.name for one in self.backend.instances()}
            case "network":
                return self.network(said["region"], int(said.get("number", 0)))
            case _:
                raise KeyError(what)
        return {}


class _Quiet(MotoRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        pass


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        tokens: set[str] = set()

        def log_message(self, *args: Any) -> None:
            pass

        def say(self, code: int, body: str = "") -> None:
            data = body.encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_PUT(self) -> None:
            """IMDSv2: a token, for the requests that follow."""
            if self.path != "/latest/api/token" or "X-aws-ec2-metadata-token-ttl-seconds" not in self.headers:
                return self.say(400)
            token = "token-%d" % len(self.tokens)
            self.tokens.add(token)
            self.say(200, token)

        def do_GET(self) -> None:
            if self.headers.get("X-aws-ec2-metadata-token") not in self.tokens:
                return self.say(401)
            instance = server.machines.by_address.get(self.client_address[0])
            if instance is None:
                return self.say(404)
            wanted, at = self.path.partition("/latest/meta-data/")[2], server.backend.notices.get(instance.id)
            if wanted == "spot/instance-action" and at is not None:
                return self.say(200, json.dumps({"action": "terminate", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))}))
            known = {"instance-id": instance.id, "local-ipv4": str(instance.private_ip), "instance-type": instance.instance_type}
            self.say(200, known[wanted]) if wanted in known else self.say(404)

        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
            try:
                answer = server.control(self.path.rpartition("/")[2], said)
            except (KeyError, StopIteration) as error:
                return self.say(404, repr(error))
            self.say(200, json.dumps(answer))

    return Handler
