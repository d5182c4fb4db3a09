"""PMI's two wire formats: what is written is read, however it is cut, and what is no PMI is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbroker.agent.pmi import codec
from sbroker.agent.pmi.codec import Command, PmiError, Reader

KEYS = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ_-0123456789", min_size=1, max_size=12).filter(lambda key: key not in ("cmd", *codec._LAST))
WORDS = st.text(st.characters(exclude_characters=" \n", exclude_categories=("Cs",)), max_size=30)
LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)), max_size=30)
ANY = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_-", min_size=1, max_size=12)
FIRST = st.builds(
    lambda name, fields, last: Command(name, {**fields, **last}),
    NAMES,
    st.dictionaries(KEYS, WORDS, max_size=4),
    st.dictionaries(st.sampled_from(codec._LAST), LINES, max_size=1),
)
SECOND = st.builds(Command, NAMES, st.dictionaries(KEYS, ANY, max_size=5))


def read(data, cuts, version):
    """All commands of the bytes, fed in pieces that end at the cuts."""
    reader, out, at = Reader(), [], 0
    reader.version = version
    for end in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        reader.feed(data[at:end])
        at = end
        while (command := reader.take()) is not None:
            out.append(command)
    return out


@given(st.lists(FIRST, max_size=5), st.lists(st.integers(0, 10**6), max_size=8))
def test_version_1_reads_what_it_wrote(commands, cuts):
    assert read(b"".join(map(codec.line, commands)), cuts, 1) == commands


@given(st.lists(SECOND, max_size=5), st.lists(st.integers(0, 10**6), max_size=8))
def test_version_2_reads_what_it_wrote(commands, cuts):
    assert read(b"".join(map(codec.frame, commands)), cuts, 2) == commands


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4), st.sampled_from([1, 2]))
def test_any_bytes_are_commands_or_an_error(data, cuts, version):
    """And the same ones, wherever they were cut."""

    def outcome(where):
        try:
            return read(data, where, version)
        except PmiError as error:
            return str(error)

    whole, cut = outcome([]), outcome(cuts)
    assert type(whole) is type(cut) and (isinstance(whole, list) or whole == cut) and (isinstance(whole, str) or whole == cut)


@pytest.mark.parametrize(
    "data, version, command",
    [
        (b"cmd=init pmi_version=1 pmi_subversion=1\n", 1, Command("init", {"pmi_version": "1", "pmi_subversion": "1"})),
        (b"cmd=put kvsname=7.0 key=a value=b c=d\n", 1, Command("put", {"kvsname": "7.0", "key": "a", "value": "b c=d"})),
        (b"mcmd=spawn\nnprocs=1\narg1=a b=c\nendcmd\n", 1, Command("spawn", {"nprocs": "1", "arg1": "a b=c"})),
        (b"    27cmd=kvs-put;key=a;value=b;;;", 2, Command("kvs-put", {"key": "a", "value": "b;"})),
        (b"13    cmd=job-getid", 2, Command("job-getid", {})),
        (b"25    cmd=abort;isworld=TRUE;m=;", 2, Command("abort", {"isworld": "TRUE", "m": ""})),
    ],
)
def test_as_mpich_writes_it(data, version, command):
    assert read(data, [], version) == [command]


@pytest.mark.parametrize("data, version", [(b"hello\n", 1), (b"key=a\n", 1), (b"abcdef", 2), (b"5     hello", 2), (b"x" * (codec.MAX_COMMAND + 1), 1)])
def test_what_is_no_pmi_is_refused(data, version):
    with pytest.raises(PmiError):
        read(data, [], version)


def test_answers_are_slurms():
    assert codec.line(Command("get_result", {"value": "x y", "rc": "0"})) == b"cmd=get_result rc=0 value=x y\n"
    assert codec.frame(Command("job-getid-response", {"rc": "0", "jobid": "15.0"})) == b"39    cmd=job-getid-response;rc=0;jobid=15.0;"
