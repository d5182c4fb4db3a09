"""PMI-1 and PMI-2: how the ranks of an MPI program find each other (srun --mpi=pmi2).

codec.py: the bytes. rank.py: the conversation with one rank. space.py: the key-value space of a step, at a node and at the head.
mapping.py: which ranks share a node. node.py: the sockets of a node's tasks. All but the last are sans-I/O.
"""
