"""Where a broker keeps its files, and sockets with long names."""

import os
import socket

from sbroker import paths


def test_home_keeps_everything_in_one_folder():
    found = paths.personal({"SBROKER_HOME": "/x/y", "HOME": "/home/u", "XDG_STATE_HOME": "/state"})
    assert {found.config, found.database, found.socket, found.logs, found.spool} == {
        "/x/y/config.yaml",
        "/x/y/sbroker.db",
        "/x/y/sbroker.sock",
        "/x/y/logs",
        "/x/y/spool",
    }
    assert found.node_dir("node1") == "/x/y/spool/node1"
    assert not found.shared


def test_a_relative_home_is_made_absolute():
    assert paths.personal({"SBROKER_HOME": "here"}).state == os.path.abspath("here")


def test_xdg_folders_and_their_defaults():
    found = paths.personal({"HOME": "/home/u", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "relative"})
    assert found.config == "/c/sbroker/config.yaml"
    assert found.database == "/home/u/.local/state/sbroker/sbroker.db"
    assert found.socket == "/home/u/.local/state/sbroker/sbroker.sock"


def test_the_socket_does_not_depend_on_the_session():
    """A cron job has no XDG_RUNTIME_DIR and must find the broker that a login shell started."""
    assert paths.personal({"HOME": "/h", "XDG_RUNTIME_DIR": "/run/user/1"}).socket == paths.personal({"HOME": "/h"}).socket


def test_shared_paths():
    found = paths.shared()
    assert found.shared
    assert found.config == "/etc/sbroker/config.yaml"
    assert found.socket == "/run/sbroker/sbroker.sock"


def test_create_makes_private_folders(tmp_path):
    found = paths.personal({"SBROKER_HOME": str(tmp_path / "deep" / "home")})
    found.create()
    found.create()
    assert os.path.isdir(found.logs)
    assert os.path.isdir(found.spool)
    assert os.stat(found.state).st_mode & 0o077 == 0


def test_sockets_with_long_paths_work(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    path = str(folder / "sbroker.sock")
    assert len(path) > paths.SOCKET_MAX
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        with paths.socket_address(path) as address:
            server.bind(address)
        server.listen()
        with paths.socket_address(path) as address:
            client.connect(address)
        assert os.path.exists(path)


def test_short_paths_are_their_own_address(tmp_path):
    with paths.socket_address("/run/x.sock") as address:
        assert address == "/run/x.sock"
