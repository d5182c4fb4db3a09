"""`#SBROKER data=`: what a job reads, how much that is and where it lies.

    s3://corpus/train 500G aws/us-east-1, /scratch/tables 20G

Items are separated by commas; each begins with a path or URL, then come, if they are known, how much it is and where: cloud/region or
cloud/region/zone. Without a size nothing is paid for moving it, but rules are about it.
"""

from __future__ import annotations

import re

from sbroker.plan.values import Source

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTP])(?:i?B)?", re.IGNORECASE)
_GB = {"K": 1e-6, "M": 1e-3, "G": 1.0, "T": 1e3, "P": 1e6}
_PLACE = re.compile(r"[a-z0-9-]+(?:/[A-Za-z0-9-]+){1,2}")


class DataError(ValueError):
    """It is not what `data=` may say."""


def parse_data(text: str) -> tuple[Source, ...]:
    """The sources, in order. DataError, with a sentence."""
    found = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, *words = item.split()
        cloud = region = zone = ""
        gigabytes = 0.0
        for word in words:
            size = _SIZE.fullmatch(word)
            if size:
                gigabytes = float(size[1]) * _GB[size[2].upper()]
            elif _PLACE.fullmatch(word):
                cloud, region, zone = (*word.split("/"), "")[:3]
            else:
                raise DataError("%s is neither a size (500G) nor a place (aws/us-east-1)" % word)
        if "/" not in name:
            raise DataError("%s is neither a path nor a URL" % name)
        found.append(Source(name=name, cloud=cloud, region=region, zone=zone, gigabytes=gigabytes))
    if not found:
        raise DataError("it says nothing")
    return tuple(found)
