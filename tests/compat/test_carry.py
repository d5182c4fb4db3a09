"""What --export carries to a machine that is not like the submit host: the table, and the environments that follow from it."""

from __future__ import annotations

import pytest

from slurm_compat import carry, environ, node

USER = {"name": "alice", "uid": 5000, "gid": 5000, "home": "/home/alice", "shell": "/bin/zsh"}
SITES = {
    "local": {"name": "local", "twin": True, "setup": None, "modules": [], "env": {}, "shared_fs": True},
    "lab": {"name": "lab", "twin": False, "setup": None, "modules": [], "env": {}, "shared_fs": False},
    "hpc": {"name": "hpc", "twin": False, "setup": None, "modules": [], "env": {}, "shared_fs": False},
}
THERE = {
    "PATH": "/opt/here/bin:/usr/bin", "HOME": "/users/a", "USER": "al", "LOGNAME": "al", "SHELL": "/bin/bash", "PWD": "/users/a", "OLDPWD": "/",
    "HOSTNAME": "login", "LD_LIBRARY_PATH": "/x", "LD_PRELOAD": "y.so", "PYTHONPATH": "/p", "PYTHONHOME": "/h", "XDG_RUNTIME_DIR": "/run/user/1",
    "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x", "BASH_FUNC_module%%": "() { :; }", "BASH_ENV": "/b", "LMOD_CMD": "/l", "_ModuleTable001_": "x",
    "MODULEPATH": "/m", "LOADEDMODULES": "gcc/1", "SSH_AUTH_SOCK": "/s", "KRB5CCNAME": "FILE:/tmp/k", "DISPLAY": ":0", "AWS_SECRET_ACCESS_KEY": "s",
    "GOOGLE_APPLICATION_CREDENTIALS": "/g", "AZURE_CLIENT_SECRET": "z", "KUBECONFIG": "/k", "HTTPS_PROXY": "http://u:p@proxy:3128", "no_proxy": "*",
    "VIRTUAL_ENV": "/v", "CONDA_PREFIX": "/c", "TMPDIR": "/tmp/session", "SBROKER_HOME": "/b", "TMUX": "/t",
    "MY": "1", "OMP_NUM_THREADS": "4", "LANG": "de_DE.UTF-8", "TZ": "UTC", "TERM": "xterm", "WANDB_API_KEY": "w", "SLURM_CONF": "/s", "EDITOR": "vi",
}  # fmt: skip
CARRIED = {"MY", "OMP_NUM_THREADS", "LANG", "TZ", "TERM", "WANDB_API_KEY", "SLURM_CONF", "EDITOR"}
OWN = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "HOSTNAME"}


def info(*sites, export=None, origin="", extra=None, here=None):
    nodes = [{"node": "n%d" % number, "site": site, "cpus": 2, "gres": {}} for number, site in enumerate(sites, 1)]
    spec = {"export": export, "origin": origin, "extra": extra or {}, "work_dir": "/project"}
    made = {"job": 1, "name": "j", "user": USER, "nodes": nodes, "sites": {site: SITES[site] for site in sites if site}, "spec": spec}
    return dict(made, here=here) if here else made


def test_a_twin_gets_everything():
    assert node.submitted_environ(info("local"), "n1", THERE) == THERE


def test_a_description_that_names_no_site_is_a_twins():
    assert node.submitted_environ(info(""), "n1", THERE) == THERE


def test_another_machine_gets_what_is_the_jobs_and_no_more():
    found = node.submitted_environ(info("lab", here={"path": "/node/bin:/bin"}), "n1", THERE)
    assert set(found) == CARRIED | OWN
    assert {name: found[name] for name in CARRIED} == {name: THERE[name] for name in CARRIED}
    assert {name: found[name] for name in OWN} == {
        "PATH": "/node/bin:/bin", "HOME": "/home/alice", "USER": "alice", "LOGNAME": "alice", "SHELL": "/bin/zsh", "PWD": "/project", "HOSTNAME": "n1"
    }  # fmt: skip


def test_what_was_not_exported_is_not_made():
    assert node.submitted_environ(info("lab"), "n1", {"SLURM_X": "1"}) == {"SLURM_X": "1"}


def test_what_export_names_is_carried():
    export = "ALL,LD_LIBRARY_PATH,AWS_SECRET_ACCESS_KEY,HOME=/x,BASH_FUNC_module%%"
    found = node.submitted_environ(info("lab", export=export), "n1", dict(THERE, HOME="/x"))
    assert (found["LD_LIBRARY_PATH"], found["AWS_SECRET_ACCESS_KEY"], found["HOME"]) == ("/x", "s", "/x")
    assert "BASH_FUNC_module%%" in found and "PYTHONPATH" not in found


def test_a_path_that_is_named_stands_before_the_nodes():
    found = node.submitted_environ(info("lab", export="ALL,PATH", here={"path": "/node/bin:/usr/bin"}), "n1", THERE)
    assert found["PATH"] == "/opt/here/bin:/usr/bin:/node/bin"


def test_an_export_file_names_all_that_is_in_it():
    found = node.submitted_environ(info("lab", extra={"export-file": "f"}), "n1", {"LD_LIBRARY_PATH": "/x"})
    assert found == {"LD_LIBRARY_PATH": "/x"}


@pytest.mark.parametrize(("origin", "site", "goes"), [
    ("lab", "lab", True), ("lab", "hpc", False), ("lab", "local", False), ("", "local", True), ("", "lab", False),
])  # fmt: skip
def test_what_was_made_on_a_machine_of_the_site_is_at_home_there(origin, site, goes):
    assert ("LD_LIBRARY_PATH" in node.submitted_environ(info(site, origin=origin), "n1", THERE)) is goes


def step(**fields):
    layout = {"nodes": ["n1", "n2"], "tasks": [[0], [1]]}
    return dict({"step": 0, "layout": layout, "ntasks": 2, "nodes": [{"node": "n1", "cpus": 1}, {"node": "n2", "cpus": 1}], "cwd": "/w"}, **fields)


def test_tasks_get_what_their_own_node_may_have():
    run = info("local", "lab")
    here = environ.step_environ(run, step(origin=""), "n1", THERE)
    there = environ.step_environ(run, step(origin=""), "n2", THERE)
    assert here["LD_LIBRARY_PATH"] == "/x" and "LD_LIBRARY_PATH" not in there
    assert (there["PWD"], there["HOME"], there["MY"], there["SLURM_STEP_ID"]) == ("/w", "/home/alice", "1", "0")


def test_what_a_script_loaded_there_goes_to_the_tasks_of_its_site():
    run = info("lab", "lab")
    assert environ.step_environ(run, step(origin="lab"), "n2", THERE)["LD_LIBRARY_PATH"] == "/x"
    assert "LD_LIBRARY_PATH" not in environ.step_environ(run, step(origin=""), "n2", THERE)
    assert "LD_LIBRARY_PATH" in environ.step_environ(run, step(origin="", exported=["LD_LIBRARY_PATH"]), "n2", THERE)


def test_srun_says_what_its_export_names():
    call = {"argv": ["--export=ALL,A,B=1", "true"], "env": {"SLURM_JOB_ID": "1"}, "cwd": "/", "meta": {}}
    run = dict(info("lab"), imitate="22.05", head="n1", settings={})
    assert node.parse_step(run, call).get("exported") == ["A", "B"]


def test_each_name_stands_in_one_row():
    names = [name for row in carry.TABLE for name in row.names.split()]
    assert len(names) == len(set(names))
    assert all(row.goes in (carry.NO, carry.OWN) and row.why for row in carry.TABLE)
    assert [name for name in names if name.endswith("*") and not name[:-1]] == []
