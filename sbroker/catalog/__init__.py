"""What can be bought where, at what price, and what it costs to move data: facts and questions, no decisions and no calls to any cloud.

    accelerators   names of accelerators and the models they stand for
    offers         Row, one thing that can be bought in one place; Wanted, a question
    index          Catalog: the rows, and answers by bit masks
    imports        catalogues in the CSV format that several projects share
    egress         what moving data costs
"""
