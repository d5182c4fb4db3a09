"""What moto's EC2 does otherwise than the real one, mended in its own classes: one process has one `Backend`."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

for _name in ("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "MOTO_ENABLE_AMI_VALIDATION", "MOTO_ENABLE_KEYPAIR_VALIDATION"):
    os.environ.setdefault(_name, "true")  # read when moto is imported

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import instances as model

from tests.doubles.ec2.machines import Machines

_STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_plain = model.InstanceBackend.run_instances, model.Instance.terminate, model.Instance.stop, model.Instance.start


def enter(instance: Any, state: str) -> None:
    instance._state.name, instance._state.code = state, _STATES[state]


def why(instance: Any, code: str, message: str) -> None:
    instance.state_reason = model.StateReason("%s: %s" % (code, message), code)


class Backend:
    """`capacity`: "TYPE", "TYPE/ZONE", "TYPE/MARKET" or "TYPE/ZONE/MARKET" → how many may still be started; absent: any number."""

    def __init__(self, machines: Machines) -> None:
        self.machines = machines
        self.capacity: dict[str, int] = {}
        self.notices: dict[str, float] = {}  # instance → when it will go
        self.lock = threading.RLock()
        self.tokens: dict[tuple[str, str], tuple[str, Any]] = {}
        machines.on_state, machines.on_off = enter, self._powered_off
        self._patch()

    def instances(self) -> list[Any]:
        return [one for backend in list(get_backend("ec2")[DEFAULT_ACCOUNT_ID].values()) for one in backend.all_instances()]

    def reset(self) -> None:
        """Nothing was ever started."""
        with self.lock:
            for instance in self.instances():
                self.machines.off(instance)
            get_backend("ec2").reset()
            self.capacity, self.notices, self.tokens = {}, {}, {}

    def interrupt(self, instance_id: str, notice: float) -> None:
        """A spot interruption, announced `notice` seconds before."""
        instance = next(one for one in self.instances() if one.id == instance_id)
        self.notices[instance_id] = time.time() + notice

        def end() -> None:
            if instance._state.name in ("pending", "running"):
                instance.terminate()
                why(instance, "Server.SpotInstanceTermination", "Instance terminated by spot interruption")

        timer = threading.Timer(notice, end)
        timer.daemon = True
        timer.start()

    def _powered_off(self, instance: Any) -> None:
        """Its host went down by itself."""
        if instance.instance_initiated_shutdown_behavior == "terminate":
            instance.terminate()
        else:
            enter(instance, "stopped")
        why(instance, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")

    def _patch(self) -> None:
        run, terminate, stop, start = _plain

        def run_instances(backend: Any, image: str, count: int, user_data: Any, groups: list[str], **options: Any) -> Any:
            with self.lock:
                return self._run(run, backend, image, count, user_data, groups, options)

        def terminate_instance(instance: Any, *args: Any, **options: Any) -> Any:
            if instance._state.name == "terminated":  # again: nothing changes, neither its reason
                return instance._state
            self.machines.off(instance)
            return terminate(instance, *args, **options)

        def stop_instance(instance: Any, *args: Any, **options: Any) -> Any:
            self.machines.off(instance)
            return stop(instance, *args, **options)

        def start_instance(instance: Any, *args: Any, **options: Any) -> Any:
            done = start(instance, *args, **options)
            enter(instance, "pending")
            self.machines.boot(instance)
            return done

        model.InstanceBackend.run_instances = run_instances  # type: ignore[method-assign]
        model.Instance.terminate, model.Instance.stop, model.Instance.start = terminate_instance, stop_instance, start_instance  # type: ignore[method-assign]

    def _run(self, run: Any, backend: Any, image: str, count: int, user_data: Any, groups: list[str], options: dict[str, Any]) -> Any:
        token, region = options.get("client_token"), backend.region_name
        form = _form()
        asked = repr(sorted((key, value) for key, value in form.items() if key != "ClientToken"))
        if token and (region, token) in self.tokens:
            before, reservation = self.tokens[region, token]
            if before != asked:
                raise EC2ClientError(
                    "IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
                )
            return reservation
        zone = options.get("placement") or region + "a"
        subnet = options.get("subnet_id") or next((nic["SubnetId"] for nic in options.get("nics") or () if "SubnetId" in nic), None)
        if subnet:
            zone = backend.get_subnet(subnet).availability_zone
        spot = bool(options.get("instance_market_options"))
        count = self._take(options.get("instance_type") or "m1.small", zone, spot, count, int(form.get("MaxCount", 0)))
        reservation = run(backend, image, count, user_data, groups, **options)
        for instance in reservation.instances:
            enter(instance, "pending")
            self.machines.boot(instance)
        if token:
            self.tokens[region, token] = (asked, reservation)
        return reservation

    def _take(self, kind: str, zone: str, spot: bool, low: int, high: int) -> int:
        """How many start: as many as are asked for and are left, at least `low`."""
        wanted, market = max(low, high), "spot" if spot else "on-demand"
        for key in ("%s/%s/%s" % (kind, zone, market), "%s/%s" % (kind, zone), "%s/%s" % (kind, market), kind):
            if key in self.capacity:
                found = min(wanted, self.capacity[key])
                if found < low:
                    raise EC2ClientError(
                        "InsufficientInstanceCapacity",
                        "We currently do not have sufficient %s capacity in the Availability Zone you requested (%s)." % (kind, zone),
                    )
                self.capacity[key] -= found
                return found
        return wanted


def _form() -> dict[str, str]:
    """The parameters of the call that is being answered."""
    from flask import request

    try:
        return dict(request.form)
    except RuntimeError:  # a direct call
        return {}
