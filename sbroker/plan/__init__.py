"""Which machines to take for a shape of job: pure, and explained.

rank(markets, question) → Answer   placements, best first, each with price and expected start; and for each place that will not do a sentence
cheapest(markets, question)        the best placement of every place: what a chain is made of
chain.place(stages, edges) → Plan  jobs joined by data, as a whole
tell(answer) → sentences           for people (words.py)
"""

from sbroker.plan.market import Market
from sbroker.plan.rank import cheapest, rank
from sbroker.plan.values import Answer, Dropped, Placement, Policy, Question, Rule, Source
from sbroker.plan.words import tell

__all__ = ["Answer", "Dropped", "Market", "Placement", "Policy", "Question", "Rule", "Source", "cheapest", "rank", "tell"]
