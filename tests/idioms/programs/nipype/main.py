"""nipype: a graph, each node a job."""

import os

import nipype.interfaces.utility as utility
import nipype.pipeline.engine as engine


def double(x):
    return x * 2


def total(xs):
    return sum(xs)


each = engine.Node(utility.Function(input_names=["x"], output_names=["y"], function=double), name="each")
each.iterables = ("x", [1, 2, 3])
joined = engine.JoinNode(utility.Function(input_names=["xs"], output_names=["t"], function=total), joinsource="each", joinfield="xs", name="joined")
flow = engine.Workflow(name="flow", base_dir=os.path.abspath("one-by-one"))
flow.connect(each, "y", joined, "xs")
graph = flow.run(plugin="SLURM", plugin_args={"sbatch_args": "--mem=500 -p debug -t 5"})
assert [node.result.outputs.t for node in graph.nodes() if node.name == "joined"] == [12]
