"""Which machines to take for a shape of job: pure, and explained.

rank(markets, question) → Answer   placements, best first, each with price and expected start; and for each place that will not do a sentence
"""

from sbroker.plan.rank import rank
from sbroker.plan.values import Answer, Dropped, Market, Placement, Policy, Question, Rule, Source

__all__ = ["Answer", "Dropped", "Market", "Placement", "Policy", "Question", "Rule", "Source", "rank"]
