"""PMI_process_mapping: which ranks share a node, as MPICH reads it. Pure."""


def process_mapping(tasks):
    """`tasks`: the ranks of each node, in the step's order of nodes → "(vector,(0,2,4))".

    A triple (first, nodes, count) is `count` ranks on each of `nodes` nodes from number `first` on; the triples follow the ranks from 0.
    """
    node_of = {rank: index for index, ranks in enumerate(tasks) for rank in ranks}
    runs = []  # [node, ranks that follow each other there]
    for rank in sorted(node_of):
        if runs and runs[-1][0] == node_of[rank]:
            runs[-1][1] += 1
        else:
            runs.append([node_of[rank], 1])
    blocks = []
    for node, count in runs:
        if blocks and blocks[-1][2] == count and blocks[-1][0] + blocks[-1][1] == node:
            blocks[-1][1] += 1
        else:
            blocks.append([node, 1, count])
    return "(vector,%s)" % ",".join("(%d,%d,%d)" % tuple(block) for block in blocks)
