"""scontrol's keywords, a module for each kind. `slurm_compat.commands.scontrol` dispatches to them."""
