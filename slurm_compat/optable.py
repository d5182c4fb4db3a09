"""The table of options: every option of Slurm 22.05's commands, with what becomes of it here.

The parser, the directive scanner, the usage texts and `sbroker options` read it. Rows are in `optable_submit` and
`optable_query`; `optrow` says what the columns mean. Standard library, Python 3.6.
"""

from slurm_compat.optable_query import ROWS as _QUERY
from slurm_compat.optable_submit import ROWS as _SUBMIT
from slurm_compat.optrow import HARMLESS, HONOURED, NONE, OPTIONAL, REFUSED, REQUIRED, Option

__all__ = ["HARMLESS", "HONOURED", "NONE", "OPTIONAL", "REFUSED", "REQUIRED", "ROWS", "Option", "by_name", "options", "variables"]

ROWS = _SUBMIT + _QUERY

_options: dict = {}  # command → tuple of its rows, in order
_by_name: dict = {}  # command → {canonical name: row}


def options(command):
    """The rows of one command, in the order in which it lists them. () for a command without a table."""
    if command not in _options:
        _options[command] = tuple(row for row in ROWS if command in row.commands)
    return _options[command]


def by_name(command):
    """Canonical name → row of one command."""
    if command not in _by_name:
        _by_name[command] = {row.name: row for row in options(command) if row.name == row.canonical}
    return _by_name[command]


def variables(command):
    """[(variable, row)]: the input variables of one command, in the order in which they are read."""
    return [(name, row) for row in options(command) for name in row.variables.get(command, ())]
