"""The node agent and its run supervisors: standard library only, Python 3.6 or later, shipped as one zipapp."""
