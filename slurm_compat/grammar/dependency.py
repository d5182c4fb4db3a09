"""--dependency. Standard library, Python 3.6: items are plain tuples, `request` makes model values of them."""

import re

KINDS = ("after", "afterany", "afterok", "afternotok", "aftercorr", "afterburstbuffer")
_JOB = re.compile(r"[ \t]*([+-]?[0-9]+)(?:_([0-9]+|\*))?(?:\+([0-9]+))?$")


class BadDependency(ValueError):
    """Not a dependency (Slurm: "Job dependency problem"); `supported` is False for one that Slurm knows but not here."""

    def __init__(self, text, supported=True):
        self.supported = supported
        super().__init__(text)


def parse(text):
    """→ (list of (kind, job, task or None, delay seconds), any). "" and "0": no dependency, ([], False). Raises BadDependency."""
    if text.strip() in ("", "0"):
        return [], False
    either = "?" in text
    items = []
    for part in re.split("[,?]", text):
        items += _one(part)
    return items, either


def _one(part):
    kind, colon, jobs = part.partition(":")
    kind = kind.lower()
    if not colon:
        if kind == "singleton":
            return [("singleton", 0, None, 0)]
        return [_job("afterany", part)]
    if kind == "expand":
        raise BadDependency(part, supported=False)
    if kind not in KINDS:
        raise BadDependency(part)
    return [_job(kind, job) for job in jobs.split(":")]


def _job(kind, text):
    match = _JOB.match(text)
    if match is None:
        raise BadDependency(text)
    number = int(match.group(1)) & 0xFFFFFFFF
    if not number or (match.group(3) is not None and not int(match.group(3))):
        raise BadDependency(text)
    task = int(match.group(2)) if match.group(2) not in (None, "*") else None
    return (kind, number, task, int(match.group(3) or 0) * 60)
