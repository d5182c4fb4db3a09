"""config.yaml: what is understood, and what an error says."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbroker import config, paths
from sbroker.catalog.egress import Peering
from sbroker.config import check, units
from sbroker.errors import ConfigError
from sbroker.model import Gres
from sbroker.plan import Rule
from sbroker.providers import hardware, local
from sbroker.store import codec

EQUIVALENT = Path(__file__).parents[1] / "data" / "equivalent-config.yaml"


def parse(text):
    return check.parse("config.yaml", text)


def test_the_equivalent_cluster():
    found = check.load(EQUIVALENT)
    nodes = {node.name: node for node in found.nodes()}
    assert list(nodes) == ["node1", "node2", "node3", "node4"]
    assert (nodes["node1"].cpus, nodes["node1"].sockets, nodes["node1"].cores_per_socket, nodes["node1"].memory) == (8, 2, 4, 16000)
    assert nodes["node1"].features == ("cpu", "intel")
    assert nodes["node1"].gres == ()
    assert nodes["node1"].weight == 1
    assert nodes["node4"].gres == (Gres(name="gpu", type="a100", count=4),)
    assert nodes["node4"].site == "gpus"
    debug, gpu = found.partitions()
    assert debug.default
    assert debug.nodes == ("node1", "node2", "node3", "node4")
    assert debug.max_time == -1
    assert debug.def_mem_per_cpu == 1000
    assert not gpu.default
    assert gpu.nodes == ("node3", "node4")
    assert (gpu.max_time, gpu.default_time) == (172800, 3600)
    settings = found.settings()
    assert settings["kill_wait"] == 5
    assert settings["min_job_age"] == 3600
    assert settings["cluster"] == "oracle"
    assert settings["imitate"] == "22.05"
    assert settings["users"] == {"alice": {"accounts": ("lab", "other"), "default_account": "lab"}}


def test_rules_and_policies_are_what_the_plan_reads():
    found = parse(
        "partitions: [{name: p, sites: [a], policy: weights, hour_worth: 2.5, burst_after: 0:10:00, spot: never, max_price: 12}]\n"
        "sites: {a: {provider: local}}\n"
        "rules:\n  - {data: 's3://eu-*', regions: [eu]}\n  - {path: /project/gdpr, sites: [a], spot: never}\n  - {accounts: [lab], max_cost: 100}\n"
        "peering: [{source: aws, target: gcp, price: 0.01, source_regions: [us-*]}]\n"
    )
    (partition,) = found.partitions()
    assert (partition.policy, partition.hour_worth, partition.burst_after, partition.spot, partition.max_price) == ("weights", 2.5, 600, "never", 12.0)
    settings = msgspec.json.decode(msgspec.json.encode(found.settings()))
    assert msgspec.convert(settings["rules"], tuple[Rule, ...]) == (
        Rule(data="s3://eu-*", regions=("eu",)),
        Rule(path="/project/gdpr", sites=("a",), spot=False),
        Rule(accounts=("lab",), max_cost=100.0),
    )
    assert msgspec.convert(settings["peering"], tuple[Peering, ...]) == (Peering(source="aws", target="gcp", price=0.01, source_regions=("us-*",)),)


def test_all_that_leaves_is_plain_json():
    found = check.load(EQUIVALENT)
    for value in (*found.nodes(), *found.partitions(), found.settings()):
        assert msgspec.json.decode(msgspec.json.encode(value))


def test_without_a_file_it_is_this_machine():
    found = config.default_config()
    (node,), (partition,) = found.nodes(), found.partitions()
    machine = hardware.look()
    assert (node.cpus, node.memory, node.sockets * node.cores_per_socket * node.threads_per_core) == (
        machine.cpus,
        machine.memory,
        machine.cpus,
    )
    assert partition.name == "debug"
    assert partition.default
    assert partition.nodes == (node.name,)


@pytest.mark.parametrize("text", ["", "# nothing but this\n", "cluster: sky\n", "sites:\npartitions:\n"])
def test_a_file_that_says_little_has_the_same_nodes(text):
    assert parse(text).nodes() == config.default_config().nodes()


def test_what_a_site_gives_its_nodes_can_be_stored():
    """The values of settings (sizes, times) are numbers of their own types, which a record does not hold."""
    found = parse("sites: {lab: {provider: ssh, hosts: 'a[1-2]', lease: 600, stage_out_grace: 60, shared_fs: [/home], features: [x], weight: 2}}\n")
    for node in found.nodes():
        assert codec.parse("node", codec.dump(node)) == node
    assert [node.lease for node in found.nodes()] == [600, 600]
    assert msgspec.json.encode(found.settings())


def test_a_count_of_nodes_and_defaults_of_virtual_ones():
    found = parse("sites: {here: {provider: local, nodes: 3, cpus: 4}}\npartitions: [{name: p, sites: [here], default: yes, hidden: no}]")
    assert [node.name for node in found.nodes()] == ["here-1", "here-2", "here-3"]
    assert (found.nodes()[0].sockets, found.nodes()[0].cores_per_socket) == (4, 1)
    assert found.partitions()[0].default
    assert not found.partitions()[0].hidden


def test_words_that_yaml_would_take_for_something_else():
    found = parse(
        "imitate: 22.05\ncluster: on\nsites: {a: {provider: local, nodes: 1, features: [1.0, yes, 08], memory: 2G}}\n"
        "partitions: [{name: p, sites: [a], oversubscribe: no, default_time: 1:00:00, max_time: 2-0}]"
    )
    assert found.imitate == "22.05"
    assert found.cluster == "on"
    assert found.nodes()[0].features == ("1.0", "yes", "08")
    assert found.nodes()[0].memory == 2048
    (part,) = found.partitions()
    assert (part.oversubscribe, part.default_time, part.max_time) == ("no", 3600, 172800)


def test_every_key_of_a_partition():
    found = parse("""
sites: {here: {provider: local, nodes: 2, shared_fs: [/home, /project]}}
accounts: {lab: {budget: 5000 USD/month, on_exhausted: drain, shares: 10}}
qos: {high: {priority: 1000}}
operators: [root, ops]
partitions:
  - {name: gpu, sites: [here], policy: cheapest, gpu_types: [a100, h100], default_time: 1:00:00, max_time: 2-00:00:00, suspend_time: 300,
     def_mem_per_cpu: 2G, def_mem_per_gpu: 32G, def_cpus_per_gpu: 8, oversubscribe: force:4, allow_accounts: [lab], allow_groups: [staff],
     allow_qos: [high], priority_tier: 5, state: DRAIN, max_nodes: 2, min_nodes: 1, max_mem_per_cpu: 4G, hidden: true}
""")
    (part,) = found.partitions()
    assert (part.def_mem_per_cpu, part.def_mem_per_gpu, part.def_cpus_per_gpu, part.suspend_time) == (2048, 32768, 8, 300)
    assert (part.state, part.priority_tier, part.allow_groups, part.gpu_types) == ("DRAIN", 5, ("staff",), ("a100", "h100"))
    assert found.settings()["accounts"] == {"lab": {"budget": "5000 USD/month", "shares": 10}}
    assert found.settings()["qos"] == {"high": {"priority": 1000}}
    assert found.operators == ("root", "ops")


SSH = "sites:\n  lab:\n    provider: ssh\n    hosts: a1\n    "


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("user: -x", "5: sites.lab.user: '-x' cannot be the name of an account"),
        ("user: a b", "5: sites.lab.user: 'a b' cannot be the name of an account"),
        ("jump: -oProxyCommand=x", "5: sites.lab.jump: '-oProxyCommand=x' is wrong: write host, user@host or user@host:port"),
        ("addresses: {a1: -x}", "5: sites.lab.addresses: '-x' is no address: write a name, or an IP address"),
        ("directory: here", "5: sites.lab.directory: 'here' is wrong: write a whole path, from / or ~/"),
        ("shared_fs: [/home, data]", "5: sites.lab.shared_fs[2]: 'data' is wrong: write a whole path, from /"),
    ],
)
def test_what_no_login_could_use_is_refused(line, message):
    with pytest.raises(ConfigError) as error:
        parse(SSH + line)
    assert str(error.value) == "config.yaml:" + message


@pytest.mark.parametrize("key", ["identity_file", "known_hosts", "config"])
def test_a_file_that_a_site_names_is_looked_for_when_asked(tmp_path, key):
    """Relative to the configuration; a broker does not ask: its other sites go on."""
    path = tmp_path / "config.yaml"
    path.write_text(SSH + key + ": named")
    assert check.load(path).sites["lab"]
    with pytest.raises(ConfigError) as error:
        check.load(path, files=True)
    assert str(error.value) == "%s:5: sites.lab.%s: %s/named cannot be read: No such file or directory" % (path, key, tmp_path)
    (tmp_path / "named").touch()
    assert check.load(path, files=True).sites["lab"]


LOCAL = "\nsites:\n  local: {provider: local, nodes: 2}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kil_wait: 3", "config.yaml:1: kil_wait: there is no such key; did you mean kill_wait?"),
        ("cluster: x\nkill_wait: soon", "config.yaml:2: kill_wait: 'soon' is not a number of seconds: write 30 or 0:10:00"),
        ("max_array_size: 0", "config.yaml:1: max_array_size: '0' is wrong: it must be a number >= 1"),
        ("max_array_size: 4000002", "config.yaml:1: max_array_size: '4000002' is wrong: it must be a number <= 4000001"),
        ("first_job_id: 99999999999999999999", "config.yaml:1: first_job_id: '99999999999999999999' is wrong: it must be a number <= 67108863"),
        ("max_array_size: many", "config.yaml:1: max_array_size: 'many' is wrong: it must be a whole number"),
        ("partitions: 3", "config.yaml:1: partitions: '3' is not a list: begin each item with a dash"),
        ("sites: [a]", "config.yaml:1: sites: a list is not a group of names and their keys"),
        ("a: 1\nkill_wait: 1\na: 2", "config.yaml:3: a is written twice"),
        ("- a", "config.yaml:1: a configuration is a group of keys: cluster, partitions, sites, …"),
        ("x: &a [*a]", "config.yaml:1: this is nested deeper than anything in a configuration"),
        (
            "users: &a [x, x, x, x, x, x, x, x, x, x]\nsites: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
            "qos: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nrules: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
            "accounts: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\npartitions: [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]",
            "config.yaml:1: with its aliases written out this is more than 100000 values, too many for a configuration",
        ),
        (
            "kill_wait: 60\nsites:\n  lab: {provider: ssh, hosts: a, lease: 170}",
            "config.yaml:3: sites.lab.lease: 170 is too short: kill_wait and two minutes are the least (180), "
            "so that no job ends for a short break of the connection",
        ),
        ("? [a]\n: b", "config.yaml:1: a key must be a word"),
        ("imitate: 24.11", "config.yaml:1: imitate: '24.11' is not a release of Slurm that this sbroker can be; there are: 22.05"),
        ("store: mysql://u:p@h/x", "config.yaml:1: store: 'mysql' is not a store: write sqlite, or postgresql://USER@HOST/NAME"),
        ("mpi_default: pmix", "config.yaml:1: mpi_default: srun has no --mpi=pmix here; there are: none, pmi2, openmpi"),
        ("cluster: a b", "config.yaml:1: cluster: 'a b' cannot be the name of a cluster: letters, digits, dot, dash, underscore"),
        (
            "partitions:\n - {name: x, sites: [loca]}" + LOCAL,
            "config.yaml:2: partitions[1].sites[1]: there is no site loca; did you mean local?",
        ),
        (
            "partitions:\n - name: x\n   sites: [local]\n   max_time: 1:00:0x" + LOCAL,
            "config.yaml:4: partitions[1].max_time: '1:00:0x' is not a time: write 30 (minutes), 1:00:00, 2-00:00:00 or infinite",
        ),
        ("partitions:\n - {name: x}" + LOCAL, "config.yaml:2: partitions[1]: the key sites is missing"),
        ("partitions:\n - {name: x, sites: local}" + LOCAL, "config.yaml:2: partitions[1].sites: 'local' is wrong: it must be a list"),
        (
            "partitions:\n - {name: x, sites: [local], state: SIDEWAYS}" + LOCAL,
            "config.yaml:2: partitions[1].state: 'SIDEWAYS' is wrong: it must be one of: DOWN, DRAIN, INACTIVE, UP",
        ),
        (
            "partitions:\n - {name: x, sites: [local], def_mem: 2G}" + LOCAL,
            "config.yaml:2: partitions[1].def_mem: there is no such key; did you mean def_mem_per_gpu?",
        ),
        (
            "partitions:\n - {name: x, sites: [local], default: true}\n - {name: y, sites: [local], default: true}" + LOCAL,
            "config.yaml:3: partitions[2].default: the partition x is the default already",
        ),
        (
            "partitions:\n - {name: x, sites: [local]}\n - {name: x, sites: [local]}" + LOCAL,
            "config.yaml:3: partitions[2].name: there are two partitions x",
        ),
        (
            "partitions:\n - {name: x, sites: [local], oversubscribe: maybe}" + LOCAL,
            "config.yaml:2: partitions[1].oversubscribe: 'maybe' is wrong: write no, exclusive, yes, yes:4, force or force:4",
        ),
        (
            "partitions:\n - {name: x, sites: [local], max_time: 10, default_time: 20}" + LOCAL,
            "config.yaml:2: partitions[1].default_time: it is more than max_time",
        ),
        ("sites:\n  x:\n    provider: locl", "config.yaml:3: sites.x.provider: there is no provider of the kind locl; did you mean local?"),
        ("sites:\n  x: {cpus: 2}", "config.yaml:2: sites.x: the key provider is missing; it is one of: aws, fake, local, ssh"),
        (
            "sites:\n  a_b: {provider: local}",
            "config.yaml:2: sites.a_b: 'a_b' cannot be the name of a site: letters, digits and dashes, at most 63",
        ),
        ("sites:\n  x: {provider: aws}", "config.yaml:2: sites.x: the key regions is missing"),
        (
            "sites:\n  x: {provider: aws, regions: [us-east-1], spott: allow}",
            "config.yaml:2: sites.x.spott: there is no such key; did you mean spot?",
        ),
        (
            "sites:\n  x: {provider: kubernetes}",
            "config.yaml:2: sites.x.provider: this release has no provider of the kind kubernetes yet; there are: aws, fake, local, ssh",
        ),
        (
            "sites:\n  x: {provider: aws, regions: [useast1]}",
            "config.yaml:2: sites.x.regions: 'useast1' is not the name of a region: write for example us-east-1",
        ),
        (
            "sites:\n  x: {provider: aws, regions: [us-east-1, us-west-2], image: ami-1}",
            "config.yaml:2: sites.x.image: ami-1 is of one region: name an SSM parameter, or make a site for each region",
        ),
        (
            "sites:\n  x: {provider: aws, regions: [us-east-1], credentials: {profil: me}}",
            "config.yaml:2: sites.x.credentials: there is no profil; there are: profile, access_key_id, secret_access_key, session_token",
        ),
        (
            "sites:\n  x: {provider: aws, regions: [us-east-1], max_lifetime: 60}",
            "config.yaml:2: sites.x.max_lifetime: 60 is too short: a machine takes minutes to boot; at least 600",
        ),
        (
            'sites:\n  lab: {provider: ssh, hosts: "gpu[01-08]", user: ubuntu, become: root}',
            "config.yaml:2: sites.lab.become: root is wrong: the login is by ubuntu; write sudo, or user: root",
        ),
        (
            'sites:\n  lab: {provider: ssh, hosts: "gpu[01-08]", user: root, become: none}',
            "config.yaml:2: sites.lab.become: none is wrong: a login by root is root's agent; write root, or another user",
        ),
        ("sites:\n  lab: {provider: ssh, hosts: gpu01, jump: 'a@b:c'}", "config.yaml:2: sites.lab.jump: 'a@b:c' is wrong: write host, user@host or user@host:port"),
        ("sites:\n  lab: {provider: ssh, hosts: gpu01, port: 70000}", "config.yaml:2: sites.lab.port: 70000 is wrong: it must be from 1 to 65535"),
        ("sites:\n  lab: {provider: ssh, hosts: gpu01, addresses: {gpu02: 10.0.0.2}}", "config.yaml:2: sites.lab.addresses: gpu02 is not among the hosts"),
        (
            "sites:\n  x: {provider: ssh, hosts: 'gpu[1-'}",
            "config.yaml:2: sites.x.hosts: 'gpu[1-' is not a list of hosts such as node1 or node[1-8,11]",
        ),
        ("sites:\n  x: {provider: local, env: {1A: x}}", "config.yaml:2: sites.x.env: '1A' cannot be the name of a variable"),
        ("sites:\n  x: {provider: local, env: {SLURM_X: 1}}", "config.yaml:2: sites.x.env: SLURM_X belongs to the job: a site cannot set it"),
        ("sites:\n  x: {provider: local, env: {A: [b]}}", 'config.yaml:2: sites.x.env: "[\'b\']" is not a word: write it in quotes'),
        ("sites:\n  x: {provider: local, modules: gcc}", "config.yaml:2: sites.x.modules: 'gcc' is wrong: it must be a list"),
        (
            "sites:\n  x: {provider: local, modules: ['a; rm -rf /']}",
            "config.yaml:2: sites.x.modules: 'a; rm -rf /' cannot be the name of a module: write for example gcc/12.2",
        ),
        ("sites:\n  x: {provider: local, twin: perhaps}", "config.yaml:2: sites.x.twin: 'perhaps' is wrong: it must be true or false"),
        ("sites:\n  x: {provider: local, memory: 12X}", "config.yaml:2: sites.x.memory: '12X' is not a size: write 16000M, 2G or 1T"),
        (
            "sites:\n  x:\n    provider: local\n    nodes: 'n[1-'",
            "config.yaml:4: sites.x.nodes: 'n[1-' is not a list of hosts such as node1 or node[1-8,11]",
        ),
        (
            "sites:\n  x: {provider: local, nodes: 0}",
            "config.yaml:2: sites.x.nodes: 0 is wrong: it must be a number from 1 to 65536 or names such as node[1-2]",
        ),
        ("sites:\n  x: {provider: local, cpus: 65537}", "config.yaml:2: sites.x.cpus: 65537 is wrong: it must be at most 65536"),
        (
            "sites:\n  x: {provider: local, ports: 5-4}",
            "config.yaml:2: sites.x.ports: 5-4 is wrong: write LOW-HIGH, for example 40000-40100, or 0 for any",
        ),
        ("sites:\n  x: {provider: local, cpus: 0}", "config.yaml:2: sites.x.cpus: 0 is wrong: it must be at least 1"),
        (
            "sites:\n  x: {provider: local, cpus: 8, sockets: 3}",
            "config.yaml:2: sites.x.cpus: 8 is wrong: it must be sockets x cores_per_socket x threads_per_core (3 x 2 x 1)",
        ),
        (
            "sites:\n  x: {provider: local, nodes: 2, gres: 'gpu:a b:c'}",
            "config.yaml:2: sites.x.gres: 'gpu:a b:c' is wrong: write NAME:TYPE:COUNT, for example gpu:a100:4",
        ),
        (
            "sites:\n  x: {provider: local, nodes: 'n[1-2]'}\n  y: {provider: local, nodes: n2}",
            "config.yaml:3: sites.y: its node n2 is also a node of the site x",
        ),
        (
            "sites:\n  x: {provider: local, nodes: -n1}",
            "config.yaml:2: sites.x.nodes: '-n1' cannot be the name of a node: letters, digits, dot, dash, underscore",
        ),
        ("accounts: {lab: {budget: 10 EUR/day}}", "config.yaml:1: accounts.lab.budget: 10 EUR/day is in EUR, but prices are in USD: write 10 USD/day"),
        ("accounts: {lab: {budget: lots}}", "config.yaml:1: accounts.lab.budget: 'lots' is not a budget: write 5000 USD/month"),
        (
            "rules: [{path: /x, sites: [a]}]",
            "config.yaml:1: rules[1].sites[1]: there is no site a; there are: local",
        ),
        ("rules: [{path: x, regions: [eu]}]", "config.yaml:1: rules[1].path: 'x' is not an absolute path: begin it with /"),
        (
            "rules:\n  - {spot: never}\n  - {data: 's3://x'}",
            "config.yaml:3: rules[2]: it leaves all as it is: say sites, regions, countries, spot, max_price or max_cost",
        ),
        ("rules: [{countries: [eurpe]}]", "config.yaml:1: rules[1].countries[1]: there is no country, or group of countries, eurpe; did you mean europe?"),
        ("rules: [{max_price: -1}]", "config.yaml:1: rules[1].max_price: '-1' is wrong: it must be a number >= 0.0"),
        ("rules: [{pth: /x}]", "config.yaml:1: rules[1].pth: there is no such key; did you mean path?"),
        (
            "users:\n  alice: {accounts: [lab], default_account: lap}",
            "config.yaml:2: users.alice.default_account: lap is not among the user's accounts; did you mean lab?",
        ),
        ("accounts: {lab: {shares: 0}}", "config.yaml:1: accounts.lab.shares: '0' is wrong: it must be a number >= 1"),
        ("qos: {high: fast}", "config.yaml:1: qos.high: 'fast' is not a group of keys; it may have priority"),
    ],
)
def test_errors_say_where_what_and_what_would_be_right(text, message):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["a: [", "\t- x", "a: b: c", "'", b"\xff\xfe\x00", b"a: \x07"])
def test_what_is_not_yaml(text):
    with pytest.raises(ConfigError, match=r"^config.yaml(:\d+)?: this is not YAML: "):
        parse(text)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        check.load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        check.load(tmp_path)


@given(st.text("ab:[]{}-,\n '\"&*#1", max_size=30))
def test_any_text_is_a_configuration_or_an_error(text):
    try:
        parse(text)
    except ConfigError as error:
        found = str(error)
    else:
        found = "config.yaml is right"
    assert found.startswith("config.yaml")


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("16000M", 16000),
        ("2G", 2048),
        ("1T", 1 << 20),
        ("500", 500),
        ("1.5G", 1536),
        ("1K", 1),
        ("2048K", 2),
        ("2GiB", 2048),
        ("2gb", 2048),
    ],
)
def test_sizes(text, mib):
    assert units.size(text) == mib


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("30:15", 1815),
        ("1:00:00", 3600),
        ("2-0", 172800),
        ("2-12", 216000),
        ("2-12:30", 217800),
        ("1-00:00:01", 86401),
        ("infinite", -1),
        ("UNLIMITED", -1),
    ],
)
def test_limits(text, seconds):
    assert units.limit(text) == seconds


@pytest.mark.parametrize("text", ["", "-", "1-", "a", "1:2:3:4", "-5", "1.5", "1-2-3", "٣"])
def test_no_limits(text):
    with pytest.raises(ValueError, match="is not a time"):
        units.limit(text)


def test_where_the_store_is():
    home = paths.personal({"SBROKER_HOME": "/x"})
    assert config.default_config().store_address(home) == "/x/sbroker.db"
    assert parse("store: postgresql://u@h/db").store_address(home) == "postgresql://u@h/db"


def test_topology_of_uneven_cpus(tmp_path):
    for cpu, (package, core) in enumerate([(0, 0), (0, 0), (0, 1), (0, 1), (1, 0), (1, 0), (1, 1), (1, 1)]):
        place = tmp_path / ("cpu%d" % cpu) / "topology"
        place.mkdir(parents=True)
        (place / "physical_package_id").write_text("%d\n" % package)
        (place / "core_id").write_text("%d\n" % core)
    assert hardware._topology(list(range(8)), str(tmp_path)) == (2, 2, 2)
    assert hardware._topology([0, 2, 4, 6], str(tmp_path)) == (2, 2, 1)
    assert hardware._topology([0, 1, 2], str(tmp_path)) == (1, 3, 1)
    assert hardware._topology([0, 77], str(tmp_path)) == (1, 2, 1)


def test_parse_gres():
    assert local.parse_gres("gpu:a100:4,fpga,nic:2") == (
        Gres(name="gpu", type="a100", count=4),
        Gres(name="fpga"),
        Gres(name="nic", count=2),
    )


def test_software_of_a_site():
    found = parse("sites:\n  x: {provider: local, env: {A: 1.50, B: 007, C: true, D: a b}, modules: [gcc/12], setup: 'a'}").sites["x"]
    assert (found.env, found.modules, found.setup, found.twin) == ({"A": "1.50", "B": "007", "C": "true", "D": "a b"}, ("gcc/12",), "a", True)
