"""Accelerators as a machine's files tell of them."""

import pytest

from sbroker.agent import devices
from sbroker.core.events import Hello
from sbroker.model import Gres, Node, Partition
from slurm_compat import environ
from tests.unit.core_cluster import Cluster


def tree(tmp_path, files):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(tmp_path)


def card(bus, minor, model):
    return {"proc/driver/nvidia/gpus/%s/information" % bus: "Model: \t\t %s\nIRQ: 12\nDevice Minor: \t %d\n" % (model, minor), "dev/nvidia%d" % minor: ""}


@pytest.mark.parametrize(("model", "kind"), [
    ("NVIDIA A100-SXM4-40GB", "a100"), ("NVIDIA H100 80GB HBM3", "h100"), ("Tesla T4", "t4"), ("NVIDIA GeForce RTX 3090", "rtx_3090"),
    ("Tesla V100-PCIE-16GB", "v100"), ("AMD Instinct MI300X OAM", "mi300x"), ("NVIDIA", None), ("", None),
])  # fmt: skip
def test_types(model, kind):
    assert devices.kind_of(model) == kind


def test_nvidia_by_the_drivers_word_in_the_order_of_its_numbers(tmp_path):
    a100, t4 = "NVIDIA A100-SXM4-40GB", "Tesla T4"
    files = {**card("0000:c1:00.0", 0, a100), **card("0000:01:00.0", 1, t4), **card("0000:81:00.0", 2, a100), **card("0000:82:00.0", 3, a100)}
    assert devices.gres(tree(tmp_path, files)) == [["gpu", "a100", 1], ["gpu", "t4", 1], ["gpu", "a100", 2]]


def test_nvidia_without_the_drivers_word(tmp_path):
    root = tree(tmp_path, {"dev/nvidia0": "", "dev/nvidia1": "", "dev/nvidiactl": "", "dev/nvidia-uvm": "", "dev/nvidia-caps/nvidia-cap1": ""})
    said = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5)\n  MIG 1g.10gb Device 0: (UUID: MIG-1)\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-6)\n"
    assert devices.gres(root, said) == [["gpu", "h100", 2]]
    assert devices.gres(root, "") == [["gpu", None, 2]]
    assert devices.gres(root, said.splitlines()[0]) == [["gpu", None, 2]]  # it does not see all of them


def test_amd(tmp_path):
    nodes = "sys/class/kfd/kfd/topology/nodes/%d/properties"
    files = {
        "dev/kfd": "", nodes % 0: "cpu_cores_count 64\nsimd_count 0\ndevice_id 0\n",
        nodes % 2: "simd_count 1216\ndevice_id 29857\ndrm_render_minor 129\n", nodes % 10: "simd_count 1216\ndevice_id 1\ndrm_render_minor 130\n",
        nodes % 1: "simd_count 440\ndevice_id 29711\ndrm_render_minor 128\n",
        "sys/class/drm/renderD130/device/product_name": "AMD Instinct MI325X OAM\n",
    }  # fmt: skip
    root = tree(tmp_path, files)
    assert devices.gres(root) == [["gpu", "mi210", 1], ["gpu", "mi300x", 1], ["gpu", "mi325x", 1]]
    (tmp_path / "dev/kfd").unlink()
    assert devices.gres(root) == []


@pytest.mark.parametrize(("name", "kind", "count", "cores"), [("Trainium1", "trainium", "2", 2), ("Trainium2", "trainium2", "8", 4), ("Inferentia2", "inferentia2", "2", 2)])
def test_neuron(tmp_path, name, kind, count, cores):
    place = "sys/devices/virtual/neuron_device/neuron%d/"
    files = {"dev/neuron%d" % number: "" for number in range(11)}
    for number in range(11):
        files.update({place % number + "info/architecture/device_name": name + "\n", place % number + "core_count": count + "\n"})
    root = tree(tmp_path, files)
    assert (devices.gres(root), devices.neuron_cores(root)) == ([["gpu", kind, 11]], cores)
    assert devices.neuron_cores(str(tmp_path / "none")) == 0


@pytest.mark.parametrize(("device", "subsystem", "file", "kind"), [
    ("0x0063", "", "dev/accel%d", "tpu-v5e"), ("0x006f", "", "dev/vfio/%d", "tpu-v6e"), ("0x0027", "0x004f", "dev/accel%d", "tpu-v3"),
])  # fmt: skip
def test_tpu(tmp_path, device, subsystem, file, kind):
    files = {"dev/vfio/vfio": "", "sys/bus/pci/devices/0000:00:01.0/vendor": "0x8086\n", "sys/bus/pci/devices/0000:00:01.0/device": device}
    for number in range(4):
        place = "sys/bus/pci/devices/0000:00:%02d.0/" % (number + 4)
        files.update({place + "vendor": "0x1ae0\n", place + "device": device + "\n", place + "subsystem_device": subsystem + "\n"})
    root = tree(tmp_path, files)
    assert devices.gres(root) == []  # no driver has them
    tree(tmp_path, {file % number: "" for number in range(4)})
    assert devices.gres(root) == [["gpu", kind, 4]]


def test_nothing(tmp_path):
    assert devices.gres(str(tmp_path)) == []


def test_a_node_takes_the_types_that_its_machine_tells():
    node = Node(name="n", site="s", measured=True)
    cluster = Cluster((node,), (Partition(name="debug", default=True, nodes=("n",)),))
    told = {"cpus": 8, "memory": 1000, "gres": [["gpu", "a100", 2], ["gpu", None, 1]]}
    cluster.do(Hello(node="n", incarnation="folder:boot", boot_id="boot", inventory=told))
    assert cluster.state.nodes["n"].gres == (Gres(name="gpu", type="a100", count=2), Gres(name="gpu", count=1))


def batch(gres, **here):
    share = {"node": "n", "cpus": 4, "gres": gres}
    user = {"name": "u", "uid": 1, "gid": 1, "home": "/", "shell": "/bin/sh"}
    return environ.batch_environ({"job": 1, "user": user, "nodes": [share], "spec": {}, "here": here}, "n", {})


def test_programs_are_told_their_devices():
    assert batch({"gpu:a100": [1, 2]})["CUDA_VISIBLE_DEVICES"] == "1,2"
    assert batch({"gpu:mi300x": [1]})["ROCR_VISIBLE_DEVICES"] == "1"
    assert batch({"gpu:trainium": [1, 3]}, neuron_cores=2)["NEURON_RT_VISIBLE_CORES"] == "2,3,6,7"
    one, all_of_them = batch({"gpu:tpu-v5e": [2]}), batch({"gpu:tpu-v5e": [0, 1, 2, 3]})
    assert (one["TPU_VISIBLE_CHIPS"], one["TPU_PROCESS_BOUNDS"], one["TPU_CHIPS_PER_PROCESS_BOUNDS"]) == ("2", "1,1,1", "1,1,1")
    assert all_of_them["TPU_VISIBLE_CHIPS"] == "0,1,2,3" and "TPU_PROCESS_BOUNDS" not in all_of_them
    assert not {"TPU_VISIBLE_CHIPS", "NEURON_RT_VISIBLE_CORES"} & set(batch({"gpu:a100": [0]}))
