"""What people call accelerators, and which ones they mean.

`resolve("A100")` → every model that is an a100, `resolve("a100-sxm4-80gb")` → the one with 80 GB. A name in a catalogue, in --gres, in
`gpu_types` and of a card in a machine goes through the same function. Facts and other names lie in accelerators.json.
"""

from __future__ import annotations

import difflib
import functools
import re
from importlib import resources

import msgspec

from sbroker.errors import SbrokerError
from sbroker.model import Value

# words that say who made it, how it is mounted, or what it is sold as, and never which one it is
_NOISE = re.compile(
    r"\b(?:nvidia|amd|google|cloud|aws|intel|habana|tesla|geforce|instinct|accelerator|gpu|graphics|generation|sxm[0-9]?|pcie|oam|nvlink|hbm[0-9]?e?)\b"
)
_MEMORY = re.compile(r"\b([0-9]+) ?gi?b\b")
_NOT_NAME = re.compile(r"[^a-z0-9]+")


class UnknownAccelerator(SbrokerError):
    """Nobody knows an accelerator of that name; `near` are the names that look most like it."""

    def __init__(self, text: str, near: tuple[str, ...]) -> None:
        super().__init__("no accelerator is called %s%s" % (text, "; is it %s?" % " or ".join(near) if near else ""))
        self.near = near


class Accelerator(Value, frozen=True, kw_only=True):
    """One model: what is told apart when it is bought."""

    name: str
    vendor: str
    memory: int  # GB of one
    families: tuple[str, ...] = ()  # shorter names that mean it and others
    aliases: tuple[str, ...] = ()
    bare: bool = False  # in a catalogue the family's name alone means this one


def resolve(text: str) -> tuple[str, ...]:
    """Names of the models that `text` may stand for, as somebody who asks means it. UnknownAccelerator."""
    found = _names()[0].get(_key(text)) or _without_memory(text)
    if not found:
        raise UnknownAccelerator(text, _near(text))
    return found


def canonical(text: str) -> str | None:
    """The one model that a catalogue or a machine means by `text`; None for what is not known."""
    try:
        found = resolve(text)
    except UnknownAccelerator:
        return None
    if len(found) == 1:
        return found[0]
    every = accelerators()
    return next((name for name in found if every[name].bare), found[0])


@functools.lru_cache(maxsize=4096)
def means(asked: str, has: str) -> bool:
    """Whether a device of type `has` is one that somebody means who asks for `asked`."""
    if asked == has:
        return True
    try:
        return canonical(has) in resolve(asked)
    except UnknownAccelerator:
        return asked.lower() == has.lower()


@functools.cache
def accelerators() -> dict[str, Accelerator]:
    """Name → what is known of it."""
    data = resources.files("sbroker.catalog").joinpath("accelerators.json").read_bytes()
    return {each.name: each for each in msgspec.json.decode(data, type=dict[str, tuple[Accelerator, ...]])["accelerators"]}


def _key(text: str) -> str:
    """What is left of a name when everything that does not tell models apart is gone: "NVIDIA A100-SXM4-80GB" → "a10080gb"."""
    plain = _NOT_NAME.sub(" ", text.lower())
    return _NOT_NAME.sub("", _NOISE.sub(" ", plain)) or _NOT_NAME.sub("", plain)


@functools.cache
def _names() -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Key → models; and all names as people would type them."""
    found: dict[str, list[str]] = {}
    for each in accelerators().values():
        for name in (each.name, *each.families, *each.aliases):
            models = found.setdefault(_key(name), [])
            if each.name not in models:
                models.append(each.name)
    spelt = {name for each in accelerators().values() for name in (each.name, *each.families, *each.aliases)}
    return {key: tuple(models) for key, models in found.items()}, tuple(sorted(spelt))


def _without_memory(text: str) -> tuple[str, ...]:
    """A name that also says how much memory, where its models are not told apart by it: the L4 24GB is the l4."""
    plain = _NOT_NAME.sub(" ", text.lower())
    said = _MEMORY.search(plain)
    if said is None:
        return ()
    size, every = int(said[1]), accelerators()
    models = _names()[0].get(_key(_MEMORY.sub(" ", plain)), ())
    return tuple(name for name in models if abs(every[name].memory - size) <= max(2, every[name].memory // 8))


@functools.lru_cache(maxsize=256)
def _near(text: str) -> tuple[str, ...]:
    return tuple(difflib.get_close_matches(text.lower(), _names()[1], n=3, cutoff=0.5))
