"""What can be bought where, at what price, and what it costs to move data: facts and questions, no decisions and no calls to any cloud.

    accelerators   names of accelerators and the models they stand for
    places         where regions lie: countries and groups of them; what --constraint may name of an offer
    imports        catalogues in the CSV format that several projects share
    offers         a row of such a catalogue, and the Offer that is made of it
    index          offers as bit masks, so that a question over a hundred thousand of them is a few ANDs
    egress         what moving data costs
"""
