"""What stands before moto: services that it does not have, and failures on request."""

from __future__ import annotations

import io
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS

# USD an hour, on demand; types that are not here have no price
PRICES = {
    "t3.micro": 0.0104, "t3.medium": 0.0416, "m5.large": 0.096, "m5.xlarge": 0.192, "m5.4xlarge": 0.768, "c5.xlarge": 0.17, "c6i.xlarge": 0.17, "r6i.large": 0.126,
    "m6g.large": 0.077, "c7g.xlarge": 0.145, "g4dn.xlarge": 0.526, "g5.xlarge": 1.006, "g5.12xlarge": 5.672, "g6.xlarge": 0.8048, "p3.2xlarge": 3.06,
    "p4d.24xlarge": 32.7726, "p4de.24xlarge": 40.9657, "p5.48xlarge": 98.32, "inf2.xlarge": 0.7582, "trn1.2xlarge": 1.3438, "trn1.32xlarge": 21.5,
}  # fmt: skip
SPOT = 0.35  # of the on-demand price, a little more from zone to zone
QUOTAS = {
    "L-1216C47A": 1152.0, "L-34B43A08": 1152.0, "L-417A185B": 384.0, "L-7212CCBC": 384.0, "L-DB2E81BA": 128.0, "L-3819A6DF": 128.0, "L-2C3B7624": 128.0,
    "L-6B0D517C": 128.0, "L-1945791B": 64.0, "L-B5D1601B": 64.0,
}  # fmt: skip
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n<%sResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>%s</%sResponse>'
_ERROR = "<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>r</RequestID></Response>"
_REGION = re.compile(r"Credential=[^/]+/[0-9]+/([a-z0-9-]+)/([a-z0-9-]+)/")
Reply = tuple[str, str, str]  # status, type of the content, content


class Front:
    """A WSGI application. `calls` counts actions; `lose[action]` of them are done and answered with what nobody can read; `fail[action]` is [error code, times]."""

    def __init__(self, inner: Callable[..., Iterable[bytes]]) -> None:
        self.inner, self.lock = inner, threading.Lock()
        self.calls: Counter[str] = Counter()
        self.lose: dict[str, int] = {}
        self.fail: dict[str, list[Any]] = {}
        self.prices, self.quotas = dict(PRICES), dict(QUOTAS)
        self.groups: dict[tuple[str, str], dict[str, Any]] = {}  # placement groups

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        form = {} if target else {key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}
        action = target.rpartition(".")[2] or form.get("Action", "")
        found = _REGION.search(environ.get("HTTP_AUTHORIZATION", ""))
        region = found[1] if found else "us-east-1"
        with self.lock:
            self.calls[action] += 1
            refused = self._due(self.fail, action)
            lost = refused is None and self.lose.get(action, 0) > 0
            if lost:
                self.lose[action] -= 1
        if refused is not None:
            status = "503 Unavailable" if refused == "RequestLimitExceeded" else "400 Bad Request"
            if target:
                return _say(start_response, (status, "application/x-amz-json-1.1", json.dumps({"__type": refused, "message": "on request"})))
            return _say(start_response, (status, "text/xml", _ERROR % (refused, "on request")))
        own = getattr(self, "_" + _snake(action), None)
        reply = own(json.loads(body) if target else form, region) if own is not None and action else None
        if lost:
            if reply is None:
                list(self.inner(environ, lambda *args, **options: None))
            return _say(start_response, ("502 Bad Gateway", "text/html", "<html>the answer was lost</html>"))
        return self.inner(environ, start_response) if reply is None else _say(start_response, reply)

    def _due(self, fail: dict[str, list[Any]], action: str) -> str | None:
        entry = fail.get(action)
        if entry is None or entry[1] <= 0:
            return None
        entry[1] -= 1
        return str(entry[0])

    # ---- what moto lacks: each takes the parameters and the region

    def _get_products(self, asked: dict[str, Any], region: str) -> Reply:
        wanted = {one["Field"]: one["Value"] for one in asked.get("Filters", ())}
        kinds = [wanted["instanceType"]] if "instanceType" in wanted else sorted(self.prices)
        start, most = int(asked.get("NextToken") or 0), int(asked.get("MaxResults") or 100)
        rows = []
        for kind in kinds[start : start + most]:
            if kind in self.prices:
                dimension = {"unit": "Hrs", "pricePerUnit": {"USD": "%.10f" % self.prices[kind]}}
                term = {"priceDimensions": {"r": dimension}}
                rows.append(json.dumps({"product": {"attributes": {"instanceType": kind, "regionCode": wanted.get("regionCode")}}, "terms": {"OnDemand": {"t": term}}}))
        more = {"NextToken": str(start + most)} if start + most < len(kinds) else {}
        return _json({"FormatVersion": "aws_v1", "PriceList": rows, **more})

    def _list_service_quotas(self, asked: dict[str, Any], region: str) -> Reply:
        return _json({"Quotas": [{"ServiceCode": "ec2", "QuotaCode": code, "QuotaName": code, "Value": value} for code, value in self.quotas.items()]})

    def _get_parameter(self, asked: dict[str, Any], region: str) -> Reply | None:
        name = str(asked.get("Name"))
        if not name.startswith(("/aws/service/canonical/", "/aws/service/deeplearning/", "/aws/service/neuron/")):
            return None
        arch = "arm64" if "arm64" in name else "x86_64"
        images = get_backend("ec2")[DEFAULT_ACCOUNT_ID][region].describe_images()
        image = next(one for one in images if one.architecture == arch and "windows" not in (one.platform or "").lower())
        return _json({"Parameter": {"Name": name, "Type": "String", "Value": image.id, "Version": 1, "DataType": "aws:ec2:image"}})

    def _describe_spot_price_history(self, form: dict[str, str], region: str) -> Reply:
        kinds = {value for key, value in form.items() if key.startswith("InstanceType.")}
        rows = []
        for entry in INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, ()):
            kind, zone = entry["InstanceType"], entry["Location"]
            if kind in self.prices and (not kinds or kind in kinds):
                price = self.prices[kind] * (SPOT + 0.01 * (ord(zone[-1]) - ord("a")))
                rows.append(
                    "<item><instanceType>%s</instanceType><productDescription>Linux/UNIX</productDescription><spotPrice>%.6f</spotPrice>"
                    "<timestamp>2026-11-24T00:00:00.000Z</timestamp><availabilityZone>%s</availabilityZone></item>" % (kind, price, zone)
                )
        return _xml("DescribeSpotPriceHistory", "<spotPriceHistorySet>%s</spotPriceHistorySet><nextToken/>" % "".join(rows))

    def _create_placement_group(self, form: dict[str, str], region: str) -> Reply:
        name = form["GroupName"]
        if (region, name) in self.groups:
            return "400 Bad Request", "text/xml", _ERROR % ("InvalidPlacementGroup.Duplicate", "The placement group %s already exists" % name)
        tags = {form["TagSpecification.1.Tag.%d.Key" % n]: form["TagSpecification.1.Tag.%d.Value" % n] for n in range(1, 9) if "TagSpecification.1.Tag.%d.Key" % n in form}
        self.groups[region, name] = {"strategy": form.get("Strategy", "cluster"), "tags": tags}
        return _xml("CreatePlacementGroup", "<return>true</return>" + "<placementGroup>%s</placementGroup>" % self._group(region, name))

    def _delete_placement_group(self, form: dict[str, str], region: str) -> Reply:
        name = form["GroupName"]
        if self.groups.pop((region, name), None) is None:
            return "400 Bad Request", "text/xml", _ERROR % ("InvalidPlacementGroup.Unknown", "The Placement Group '%s' is unknown" % name)
        return _xml("DeletePlacementGroup", "<return>true</return>")

    def _describe_placement_groups(self, form: dict[str, str], region: str) -> Reply:
        tag = form.get("Filter.1.Name", "").removeprefix("tag:")
        names = [name for (place, name), group in self.groups.items() if place == region and (not tag or group["tags"].get(tag) == form.get("Filter.1.Value.1"))]
        return _xml("DescribePlacementGroups", "<placementGroupSet>%s</placementGroupSet>" % "".join("<item>%s</item>" % self._group(region, name) for name in names))

    def _group(self, region: str, name: str) -> str:
        group = self.groups[region, name]
        tags = "".join("<item><key>%s</key><value>%s</value></item>" % (escape(key), escape(value)) for key, value in group["tags"].items())
        return "<groupName>%s</groupName><strategy>%s</strategy><state>available</state><tagSet>%s</tagSet>" % (escape(name), group["strategy"], tags)


def _snake(action: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", action).lower()


def _json(value: Any) -> Reply:
    return "200 OK", "application/x-amz-json-1.1", json.dumps(value)


def _xml(action: str, content: str) -> Reply:
    return "200 OK", "text/xml", _XML % (action, content, action)


def _say(start_response: Callable[..., Any], reply: Reply) -> list[bytes]:
    data = reply[2].encode()
    start_response(reply[0], [("Content-Type", reply[1]), ("Content-Length", str(len(data)))])
    return [data]
