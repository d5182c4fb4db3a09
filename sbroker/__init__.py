"""The broker: queue, plan, fleet, agent. Knows Slurm's states and reasons, never its spelling; never imports ``slurm_compat``."""

__version__ = "0.1.0"
