"""A question as demands on the offers of one market: each a sentence about a place that does not meet it, and the mask of the offers that do."""

from __future__ import annotations

from collections.abc import Iterator

from sbroker import features
from sbroker.catalog.index import ANY, Index, models
from sbroker.catalog.places import ARCHITECTURES
from sbroker.features import Expr, FeatureError
from sbroker.model import Gres
from sbroker.plan import rules
from sbroker.plan.market import Market
from sbroker.plan.values import Question, Rule

Demand = tuple[str, int]


class Asked:
    """A question, read once for all markets."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.rules = rules.about(
            question.rules,
            paths=question.paths,
            data=(source.name for source in question.sources),
            partition=question.partition,
            account=question.account,
        )
        self.expr, self.bad = constraint(question.constraint)
        names = features.names(self.expr) if self.expr is not None else set()
        self.arch = "" if names & set(ARCHITECTURES) else question.ask.arch
        self.types = tuple(dict.fromkeys(model for kind in question.types for model in models("gpu", kind)))
        self.least = max(1, question.ask.count)
        prices = [each for each in (question.max_price, *(rule.max_price for rule in self.rules)) if each is not None]
        self.max_price = min(prices, default=None)
        costs = [each for rule in self.rules if (each := rule.max_cost) is not None]
        self.max_cost = min(costs, default=None)
        self.limit = None if question.deadline is None else question.deadline - question.now - (question.seconds or 0)

    def demands(self, market: Market) -> Iterator[Demand]:
        index, ask = market.index, self.question.ask
        for rule in self.rules:
            yield from _rule(index, market.site, rule)
        if self.bad:
            yield self.bad, 0
        elif self.expr is not None:
            for part in self.expr.parts if self.expr.op == "&" else (self.expr,):
                yield "no machine there has the feature %s" % spelt(part), index.holds(part)
        for item in ask.gres:
            yield from self._device(index, item)
        if self.arch:
            yield "no machine there is %s" % self.arch, index.arch[self.arch] | index.arch[""]
        yield "no such machine there has %d CPUs" % ask.cpus, index.cpus(ask.cpus)
        if ask.memory:
            yield "no such machine there has %d MiB of memory" % ask.memory, index.memory(ask.memory)
        if ask.tmp:
            yield "no such machine there has %d MiB of temporary disk" % ask.tmp, index.tmp(ask.tmp)
        if ask.spot is not None:
            yield "no such machine there is sold %s" % ("on the spot market" if ask.spot else "on demand"), index.spot[ask.spot]
        if self.limit is not None:
            soon = index.boot.any(seconds for seconds in index.boot.positions if seconds <= self.limit)
            yield "a machine there would come too late for the deadline", soon
        if self.max_price is not None:
            yield "the cheapest there costs more than %.2f USD an hour" % self.max_price, index.below(self.max_price / self.least)
        avoided = self.avoided(market)
        if avoided:
            yield "what is left there refused a while ago", index.all & ~avoided

    def mask(self, market: Market) -> int:
        """The offers that meet every demand."""
        mask = market.index.all
        for _, met in self.demands(market):
            mask &= met
            if not mask:
                break
        return mask

    def _device(self, index: Index, item: Gres) -> Iterator[Demand]:
        asked = "%s%s:%d" % (item.name, ":" + item.type if item.type else "", item.count)
        if item.type is not None:
            mask = 0
            for model in models(item.name, item.type):
                mask |= index.devices(item.name, model, item.count)
            yield "no machine there has %s" % asked, mask
        elif item.name == "gpu" and self.types:
            mask = index.devices(item.name, "", item.count)
            for model in self.types:
                mask |= index.devices(item.name, model, item.count)
            yield "no machine there has %s of the partition's gpu_types (%s)" % (asked, ", ".join(self.question.types)), mask
        else:
            any_type = index.devices(item.name, ANY, item.count)
            yield "no machine there has %s" % asked, any_type
            if item.name == "gpu":
                yield "no machine is bought for a GPU of any type: write --gres=gpu:TYPE:%d, or set gpu_types of the partition%s" % (
                    item.count,
                    " " + self.question.partition if self.question.partition else "",
                ), index.below(0.0)

    def avoided(self, market: Market) -> int:
        """The offers of places that are avoided now."""
        index, mask = market.index, 0
        for site, place, kind, spot in self.question.avoid:
            if site != market.site:
                continue
            found = index.spot[spot]
            if kind:
                found &= index.type[kind] or index.name(kind)
            if place:
                found &= index.zone[place] | index.region[place] & index.zone[""]
            mask |= found
        return mask


def constraint(text: str | None) -> tuple[Expr | None, str]:
    """The expression of --constraint, or a sentence if it is none."""
    if not text:
        return None, ""
    try:
        return features.parse(text), ""
    except FeatureError:
        return None, "--constraint=%s cannot be read" % text


def spelt(expr: Expr) -> str:
    if expr.op == "name":
        return expr.name
    if expr.op == "[":
        return "[%s]" % spelt(expr.parts[0])
    return expr.op.join(map(spelt, expr.parts)) if expr.op in ("&", "|") else "(%s)" % spelt(expr.parts[0])


def _rule(index: Index, site: str, rule: Rule) -> Iterator[Demand]:
    if rule.sites and site not in rule.sites:
        yield rules.only_sites(rule), 0
    for patterns in (rule.regions, rule.countries):
        if patterns:
            yield rules.outside(rule, patterns), index.located(patterns)
    if rule.spot is not None:
        yield "%s leaves only %s machines" % (rules.subject(rule), "spot" if rule.spot else "on-demand"), index.spot[rule.spot]
