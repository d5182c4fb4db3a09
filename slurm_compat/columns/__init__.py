"""What each letter and name of an output format prints: one table a kind of thing (jobs, steps, nodes)."""
