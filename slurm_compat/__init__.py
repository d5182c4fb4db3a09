"""Slurm's language: options, grammars, environment, text and exit codes. Talks to ``sbroker`` only through ``sbroker.api``."""
