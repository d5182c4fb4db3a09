"""The only decision-maker: ``decide(state, event, now) → Decision``. Pure: no clock, no I/O, no randomness but what events carry.

| module | owns |
| --- | --- |
| `events`, `effects` | what can happen; what may be ordered and changed |
| `state`, `usage`, `shape` | the record and its indexes; what is taken of a node; what placement sees of a job |
| `draft` | one decision in the making, laid over the state |
| `decide` | event → handler → pass → decision |
| `admit` | submissions: checks, defaults, --test-only |
| `queue`, `plan` | the pass by shapes; what is free now and later, promises to jobs that wait |
| `select`, `gres`, `features` | nodes, cores, devices; --constraint |
| `arrays`, `dependency` | tasks that leave their array; --dependency |
| `launch`, `watch`, `finish` | a run comes to be; what nodes say and what silence means; how runs and jobs end |
| `staging` | files of nodes that do not share the submit host's: what waits for them |
| `change`, `update`, `purge` | what users and operators do; what time alone does |
| `money`, `owed` | prices, what was spent and may still be, who may spend |
| `spot`, `deadline` | who may use spot machines; when a job with a deadline should |
| `explain` | sentences about a job that waits |
"""
