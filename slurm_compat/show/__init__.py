"""What `scontrol show` prints: one module an entity, each a pure function of values and a `Scene`."""
