"""How two sides show each other that they know a run's key, without saying it: HMAC-SHA256 over fresh random words of both.

The head calls a node's agent by TCP:

    head → agent    {"op": "peer", job, run, from, to, nonce}
    agent → head    {"op": "challenge", nonce, proof}          of the agent: it knows the key, too
    head → agent    {"op": "proof", proof}                     of the head; all that follows is for the run's supervisor

Names, run and both nonces are in what is proven: nothing of it is of use for another run, node, direction or time.
"""

import os

from . import lean

_NONCE = 32  # bytes


def nonce():
    return os.urandom(_NONCE).hex()


def proof(key, side, call, ours, theirs):
    """The proof of `side` ("head" or "agent") as hex digits. call: (job, run, from, to); ours, theirs: the nonces of the head and of the
    agent."""
    words = ["sbroker peer 1", side, "%d.%d" % (call[0], call[1]), call[2], call[3], ours, theirs]
    return lean.hmac_sha256(key.encode("utf-8", "surrogatepass"), "\0".join(words).encode("utf-8", "surrogatepass"))


def same(told, expected):
    """Whether two proofs are alike, in a time that says nothing of where they differ."""
    return isinstance(told, str) and lean.same_digest(told.encode("utf-8", "surrogatepass"), expected.encode())


def is_nonce(text):
    return isinstance(text, str) and len(text) == 2 * _NONCE and all(sign in "0123456789abcdef" for sign in text)
