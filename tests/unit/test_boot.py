"""Boot data: what is rendered, and that the shell does with it what it says."""

from __future__ import annotations

import os
import subprocess

import asyncssh
import pytest

from sbroker.fleet import boot


def made(**options):
    pair = boot.keys()
    options.setdefault("authorized", ("ssh-ed25519 AAAA me@here",))
    return pair, boot.render(boot.Boot(host=pair, **options))


def test_a_pair_belongs_together():
    pair = boot.keys()
    key = asyncssh.import_private_key(pair.private)
    assert key.export_public_key().decode().split()[:2] == pair.public.split()[:2]
    assert boot.keys().public != pair.public


def test_the_end_is_armed_before_anything_else():
    _, text = made(lifetime=3601)
    assert text.splitlines()[:2][0] == "#!/bin/sh"
    assert text.splitlines()[1].startswith("shutdown -h +61 ")
    assert text.index("watch </dev/null") < text.index("ssh_host_ed25519_key")
    assert "@" not in text.replace("me@here", "")
    assert len(text) < 8192  # EC2 takes 16 KiB


def test_the_shell_reads_it(tmp_path):
    _, text = made(user="o'hara", store="ab'c")
    (tmp_path / "boot").write_text(text)
    assert subprocess.run(["sh", "-n", str(tmp_path / "boot")], capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize("options", [{"authorized": ()}, {"authorized": ("a\nb",)}, {"silence": 5}, {"lifetime": 0}])
def test_what_would_break_it_is_refused(options):
    with pytest.raises(ValueError, match=r"key|minute"):
        made(**options)


def test_known_hosts():
    key = boot.keys().public
    assert boot.known_hosts(key, "10.0.0.1", "h") == "10.0.0.1,h %s\n" % key
    assert boot.known_hosts(key, "h", port=2222) == "[h]:2222 %s\n" % key


def watch(tmp_path, text):
    """The watch alone, with machines' clock and end in files, and what it does when it looks."""
    body = text[text.index("watch() {") : text.index("trap ''")]
    body = body.replace("/proc/uptime", str(tmp_path / "uptime")).replace(body[body.index("off() {") :], "off() { echo off; exit; }\n")
    step = "sleep() { n=$((n + 1)); sh %s/step $n; }\n" % tmp_path
    return subprocess.run(["sh", "-c", "n=0\n" + step + body + "watch"], capture_output=True, text=True, timeout=30, cwd=tmp_path)


def test_silence_ends_the_machine_and_a_word_keeps_it(tmp_path):
    base = tmp_path / "base"
    (base / "s" / "n1").mkdir(parents=True)
    heard, uptime = base / "s" / "n1" / "heard", tmp_path / "uptime"
    uptime.write_text("50.12 7.00\n")
    _, text = made(base=str(base), store="s", silence=100, lifetime=100000)
    # at the second look the broker has been heard; from the third on it is silent; a look each 40 s
    (tmp_path / "step").write_text('echo "$((50 + $1 * 40)).00 0" >%s; echo $1 >%s; [ $1 != 2 ] || touch -d @1000 %s' % (uptime, tmp_path / "n", heard))
    done = watch(tmp_path, text)
    assert done.stdout == "off\n"
    assert (tmp_path / "n").read_text() == "5\n"  # the word of the second look is seen at 130 s: 250 s is 100 s later


def test_the_longest_life_ends_it_however_often_it_is_heard(tmp_path):
    base = tmp_path / "base"
    (base / "s" / "n1").mkdir(parents=True)
    (tmp_path / "uptime").write_text("1000.0 0\n")
    _, text = made(base=str(base), silence=100, lifetime=600)
    (tmp_path / "step").write_text("echo $((1000 + ($1 - 1) * 60)).5 0 >%s; touch -d @$1 %s; echo $1 >%s" % (tmp_path / "uptime", base / "s" / "n1" / "heard", tmp_path / "n"))
    assert watch(tmp_path, text).stdout == "off\n"
    assert (tmp_path / "n").read_text() == "11\n"
    assert os.path.exists(base / "s" / "n1" / "heard")
