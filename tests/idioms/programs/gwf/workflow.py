from gwf import Workflow

gwf = Workflow(defaults={"walltime": "00:05:00", "cores": 1, "memory": "100m", "queue": "debug", "account": "lab"})
gwf.target("A", inputs=[], outputs=["a.txt"]) << "echo a > a.txt"
gwf.target("B", inputs=["a.txt"], outputs=["b.txt"]) << "cat a.txt > b.txt"
