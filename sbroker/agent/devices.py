"""Accelerators of this machine, read from device files, /proc and /sys: nothing is typed, and nothing is run where the driver says it there.

All are the resource `gpu`, with the model as its type: a100, mi300x, trainium2, tpu-v5e. Indices are the driver's own: what its visibility
variable takes. Every function takes the root of the file system, for tests.
"""

import os

_SMI = 15.0  # seconds; without its daemon the driver takes a while to wake the cards
_NOISE = ("nvidia", "tesla", "geforce", "quadro", "amd", "instinct", "radeon", "ati")
_PREFIXES = ("RTX", "GTX", "TITAN", "PRO")
# PCI device → model, where no name can be read
_AMD = {0x738C: "mi100", 0x7408: "mi250", 0x740C: "mi250", 0x740F: "mi210", 0x74A0: "mi300a", 0x74A1: "mi300x", 0x74A5: "mi325x", 0x75A3: "mi355x"}
_TPU = {"0x005e": "tpu-v4", "0x0062": "tpu-v5p", "0x0063": "tpu-v5e", "0x006f": "tpu-v6e", "0x0076": "tpu7x"}
_OLD_TPU = {"0x004e": "tpu-v2", "0x004f": "tpu-v3"}  # one device id for both; the subsystem tells them apart
_GOOGLE = "0x1ae0"
_NEURON = "sys/devices/virtual/neuron_device"


def gres(root="/", smi=None):
    """[[name, type or None, count], …] in the order of the devices' indices; neighbours of one type are counted together."""
    found = []
    for kind in models(root, smi):
        if found and found[-1][1] == kind:
            found[-1][2] += 1
        else:
            found.append(["gpu", kind, 1])
    return found


def models(root="/", smi=None):
    """The type (None: not known) of each device, by index. A machine has accelerators of one maker: the first that is found."""
    for look in (lambda: nvidia(root, smi), lambda: amd(root), lambda: neuron(root), lambda: tpu(root)):
        kinds = look()
        if kinds:
            return kinds
    return []


def nvidia(root="/", smi=None):
    """By the driver's word, else by their device files and nvidia-smi -L. `smi`: its output, for tests; None: it is asked."""
    count = len(_numbered(root, "dev", "nvidia"))
    found = {}
    for number, path in enumerate([os.path.join(path, "information") for path in _entries(root, "proc/driver/nvidia/gpus")]):
        fields = dict(line.partition(":")[::2] for line in _text(path).splitlines())
        minor = fields.get("Device Minor", "").strip()
        found[int(minor) if minor.isdigit() else number] = kind_of(fields.get("Model", ""))
    if found:
        return [found[minor] for minor in sorted(found)]
    if not count:
        return []
    import re  # not at the agent's start (tests/rules)

    names = re.findall(r"^GPU \d+: (.+?)(?: \(UUID.*)?$", _smi() if smi is None else smi, re.MULTILINE)
    return [kind_of(name) for name in names] if len(names) == count else [None] * count


def _smi(known=[]):  # noqa: B006
    if not known:
        known.append(_ask_smi())
    return known[0]


def _ask_smi():
    import shutil  # not at the agent's start (tests/rules)
    import subprocess

    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        done = subprocess.run([program, "-L"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_SMI, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def amd(root="/"):
    """By the compute driver's list of nodes: those that have SIMD units are GPUs."""
    if not os.path.exists(os.path.join(root, "dev/kfd")):
        return []
    found = []
    for path in sorted(_entries(root, "sys/class/kfd/kfd/topology/nodes"), key=lambda path: int(os.path.basename(path))):
        fields = dict(line.split(None, 1) for line in _text(os.path.join(path, "properties")).splitlines() if len(line.split(None, 1)) == 2)
        if not int(fields.get("simd_count", "0")):
            continue  # the processor
        render = os.path.join(root, "sys/class/drm/renderD%s/device/product_name" % fields.get("drm_render_minor", ""))
        found.append(kind_of(_text(render)) or _AMD.get(int(fields.get("device_id", "0"))))
    return found


def neuron(root="/"):
    """AWS Trainium and Inferentia: /dev/neuron0 …"""
    found = []
    for number in _numbered(root, "dev", "neuron"):
        name = _text(os.path.join(root, _NEURON, "neuron%d/info/architecture/device_name" % number)).strip().lower()
        found.append((name[:-1] if name.endswith("1") else name) or None)  # Trainium1 is sold as Trainium
    return found


def neuron_cores(root="/"):
    """Cores of one Neuron device as programs count them; 0 without one."""
    text = _text(os.path.join(root, _NEURON, "neuron0/core_count")).strip()
    cores = int(text) if text.isdigit() else 0
    name = _text(os.path.join(root, _NEURON, "neuron0/info/architecture/device_name")).strip().lower()
    return cores // 2 if name in ("trainium2", "trainium3") else cores  # there two physical ones are a logical one, unless a program says not


def tpu(root="/"):
    """Google TPU chips: on the PCI bus, with a device file each (/dev/accelN, or /dev/vfio/N of newer ones)."""
    if not _numbered(root, "dev", "accel") and not _numbered(root, "dev/vfio", ""):
        return []
    found = []
    for path in _entries(root, "sys/bus/pci/devices"):
        if _text(os.path.join(path, "vendor")).strip() != _GOOGLE:
            continue
        device = _text(os.path.join(path, "device")).strip()
        if device == "0x0027":
            found.append(_OLD_TPU.get(_text(os.path.join(path, "subsystem_device")).strip()))
        elif device in _TPU:
            found.append(_TPU[device])
    return found


def _entries(root, folder):
    """Paths in a folder, sorted; none where it is not there."""
    folder = os.path.join(root, folder)
    try:
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    except OSError:
        return []


def _numbered(root, folder, prefix):
    """Numbers of the files `prefix`N there, ascending."""
    names = (os.path.basename(path) for path in _entries(root, folder))
    return sorted(int(name[len(prefix) :]) for name in names if name.startswith(prefix) and name[len(prefix) :].isdigit())


def kind_of(model):
    """``NVIDIA A100-SXM4-40GB`` → a100; ``Tesla T4`` → t4; ``NVIDIA GeForce RTX 3090`` → rtx_3090; ``AMD Instinct MI300X OAM`` → mi300x."""
    words = [word for word in model.replace("_", " ").split() if word and word.lower() not in _NOISE]
    if not words:
        return None
    if words[0].upper() in _PREFIXES and len(words) > 1:
        return "_".join(words[:2]).lower()
    return words[0].split("-")[0].lower()


def _text(path):
    """A small file's text, "" if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(4096)
    except (OSError, ValueError):
        return ""
