"""python -m tests.doubles.ec2 --hosts NAME [--state FOLDER]: the double inside the hub of that set of hosts.

Control is JSON by POST at --control-port: /_double/capacity {"p5.48xlarge": 0, "m5.large/us-east-1a/spot": 2}, /_double/interrupt {"id": "i-…", "notice": 3},
/_double/boot {"delay": 1}, /_double/lose {"RunInstances": 1}, /_double/fail {"RunInstances": ["RequestLimitExceeded", 2]}, /_double/quotas {"L-417A185B": 0},
/_double/network {"region": "us-east-1"} (a VPC for the hosts), /_double/calls, /_double/states.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from tests.doubles.cloudhosts import Cloud
from tests.doubles.ec2.server import Server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", help="name of the set of hosts; without it instances have none")
    parser.add_argument("--state", type=Path, help="its folder, if that is not the usual one")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--control-port", type=int, default=5001, help="control and metadata, at all addresses")
    parser.add_argument("--boot-delay", type=float, default=0.0)
    options = parser.parse_args()
    cloud = Cloud(options.hosts, options.state) if options.hosts else None
    server = Server(cloud, delay=options.boot_delay, port=options.port, control_port=options.control_port, control_host="")
    print("ready", server.url, server.control_port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
