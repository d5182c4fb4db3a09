"""The only decision-maker: ``decide(state, event, now) → Decision``. Pure: no clock, no I/O, no randomness but what events carry."""
