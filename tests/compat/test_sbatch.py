"""sbatch against recorded answers of Slurm 22.05.8: output, error output, exit code."""

from __future__ import annotations

import asyncio
import errno
import re
import shlex
from pathlib import Path

import pytest
from submit_fakes import FakeApi, FakeClient, call_of, refusal

from slurm_compat.commands import sbatch
from slurm_compat.grammar import Invalid

OK = b'#!/bin/bash\n#SBATCH -J fromfile -n 2\n#SBATCH -o ok-%j.out\necho "args=$# $1 $2 name=$SLURM_JOB_NAME n=$SLURM_NTASKS"\n'
FILES = {
    "ok.sh": OK,
    "late.sh": b"#!/bin/bash\necho first\n#SBATCH --bogus\n",
    "noshebang.sh": b"echo hi\n",
    "dos.sh": b"#!/bin/bash\r\necho hi\r\n",
    "empty.sh": b"",
    "shebangonly.sh": b"#!/bin/bash\n",
    "badinterp.sh": b"#!/no/such/interp\n",
    "baddir.sh": b"#!/bin/bash\n#SBATCH --bogus=1\necho\n",
    "badval.sh": b"#!/bin/bash\n#SBATCH --time=abc\necho\n",
    "/tmp": errno.EISDIR,
    "/bin/ls": b"\x7fELF\0\0",
    "exit3.sh": b"#!/bin/bash\nexit 3\n",
}


def recorded(name):
    """The cases of a recorded file: (command line, stdin, refusal, out, err, code)."""
    cases = []
    for block in (Path(__file__).parent / "data" / name).read_text().rstrip("\n").split("\n\n"):
        lines = block.split("\n")
        if not lines[0].startswith("$ "):
            continue
        body = lines[1:]
        stdin = "".join(line[2:] + "\n" for line in body if line.startswith("< "))
        refused = next((line[2:] for line in body if line.startswith("@ ")), "")
        out = "".join(line + "\n" for line in body if not re.match(r"[<@!] |\[exit ", line))
        err = "".join(line[2:] + "\n" for line in body if line.startswith("! "))
        code = next(int(line[6:-1]) for line in body if line.startswith("[exit "))
        cases.append((lines[0][2:], stdin, refused, out, err, code))
    return cases


def run(line, stdin="", files=FILES, env=None, **api):
    """(out, err, code, api, client) of one command line."""
    words = shlex.split(line)
    variables = dict(env or {})
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    call = call_of("sbatch", words[1:], variables)
    client, fake = FakeClient(files, stdin.encode()), FakeApi(call, **api)
    code = asyncio.run(sbatch.run(call, client, fake))
    return client.texts[1], client.texts[2], code, fake, client


@pytest.mark.parametrize(("line", "stdin", "refused", "out", "err", "code"), recorded("sbatch.txt"))
def test_recorded_answer(line, stdin, refused, out, err, code):
    got = run(line, stdin, refuse=refusal(refused) if refused else None)
    assert got[:3] == (out, err, code)


@pytest.mark.parametrize(("size", "good"), [(4 << 20, True), ((4 << 20) + 1, False)])
def test_a_script_of_more_than_4_mib_is_refused(size, good):
    """Slurm's max_script_size: one byte more and it is not taken, let alone cut."""
    script = b"#!/bin/sh\n".ljust(size, b"#")
    if good:
        sbatch._examine(script)
    else:
        with pytest.raises(Invalid, match="Pathname of a file, directory or other parameter too long"):
            sbatch._examine(script)
