from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbroker.features import FeatureError, alternatives, holds, names, parse


@pytest.mark.parametrize(
    ("text", "features", "passes"),
    [
        ("cpu", {"cpu"}, True),
        ("cpu", {"gpu"}, False),
        ("cpu&intel", {"cpu", "intel"}, True),
        ("cpu&intel", {"cpu"}, False),
        ("cpu|gpu", {"gpu"}, True),
        ("a&b|c", {"c"}, True),  # from left to right
        ("a|b&c", {"a"}, False),
        ("a&(b|c)", {"a", "c"}, True),
        ("a&(b|c)", {"a"}, False),
        (" a & b ", {"a", "b"}, True),
        ("us-east-1&type=g5.xlarge", {"us-east-1", "type=g5.xlarge"}, True),
    ],
)
def test_what_a_node_needs(text: str, features: set[str], passes: bool) -> None:
    assert holds(parse(text), features) is passes


@pytest.mark.parametrize("text", ["", "&", "a&", "a b", "(a", "a)", "[a", "a*", "a*x", "a*0", "a**2", "*3", "a||b", "é"])
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(FeatureError):
        parse(text)


def test_names_of_all_branches() -> None:
    assert names(parse("[a*2&(b|c)]&d")) == {"a", "b", "c", "d"}


def test_counts_and_choices_become_alternatives() -> None:
    (way,) = alternatives("[cpu*1&gpu*2]")
    assert way.every is None
    assert [(expr.name, count) for expr, count in way.counts] == [("cpu", 1), ("gpu", 2)]
    assert [way.every.name for way in alternatives("[a|b|c]") if way.every] == ["a", "b", "c"]
    (way,) = alternatives("x&gpu*2")
    assert way.every is not None
    assert way.every.name == "x"
    assert [(expr.name, count) for expr, count in way.counts] == [("gpu", 2)]
    first, second = alternatives("[a|b]&c")
    assert holds(first.every, {"a", "c"})
    assert not holds(first.every, {"b", "c"})
    assert holds(second.every, {"b", "c"})


_leaf = st.sampled_from("abc")
_tree = st.recursive(_leaf, lambda inner: st.tuples(st.sampled_from("&|"), inner, inner), max_leaves=6)


def _text(tree: object) -> str:
    return tree if isinstance(tree, str) else "(%s%s%s)" % (_text(tree[1]), tree[0], _text(tree[2]))  # type: ignore[index]


def _true(tree: object, features: set[str]) -> bool:
    if isinstance(tree, str):
        return tree in features
    sides = [_true(tree[1], features), _true(tree[2], features)]  # type: ignore[index]
    return all(sides) if tree[0] == "&" else any(sides)  # type: ignore[index]


@given(_tree)
def test_any_expression_says_what_its_tree_says(tree: object) -> None:
    for bits in product((False, True), repeat=3):
        features = {name for name, there in zip("abc", bits, strict=True) if there}
        assert holds(parse(_text(tree)), features) is _true(tree, features)
        assert any(holds(way.every, features) for way in alternatives(_text(tree))) is _true(tree, features)


@pytest.mark.parametrize("text", ["(" * 5000, "a&b|" * 3000 + "a", "&".join(["[a|b]"] * 30), "&".join(["(a*2|b)"] * 30), "[" * 999])
def test_what_would_exhaust_the_broker_is_no_expression(text: str) -> None:
    with pytest.raises(FeatureError):
        parse(text)
