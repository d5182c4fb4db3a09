"""The kind ssh under the contract suite: hosts that are there already; nobody is asked before a link is opened."""

from sbroker.providers import ssh


def settings(folder):
    return ssh.SshSettings(provider="ssh", hosts=("gpu01", "gpu02"), addresses={"gpu02": "10.0.0.2"}, user="ubuntu", identity_file="key")
