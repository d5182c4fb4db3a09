"""The core with simulated nodes and a simulated store, under one seed, crashing at every effect."""
