"""The shape of an option row. Standard library, Python 3.6.

A row as written: (name, letter, argument, commands, variables, field, class, note[, same as]).

* commands: a letter each, see COMMANDS. One row serves several commands when name, letter and argument are the same there.
* variables: input variables in the order in which they are read (the last one set wins), separated by blanks. "NAME" takes each
  command's prefix (SBATCH_, SALLOC_, SLURM_ …); "bs:NAME" does so for these commands only; "=NAME" or "s=NAME" is the whole name.
* field: the field of JobSpec (or of the command's own request) that it fills.
* class: honoured; harmless (accepted: ignoring it changes no result); refused (an error that gives the note as its reason).
* same as: the canonical name of which this is another spelling.
"""

from collections import namedtuple

NONE, REQUIRED, OPTIONAL = "none", "required", "optional"
HONOURED, HARMLESS, REFUSED = "honoured", "harmless", "refused"

COMMANDS = {"b": "sbatch", "a": "salloc", "s": "srun", "q": "squeue", "c": "scancel", "i": "sinfo", "t": "sacct", "o": "scontrol",
            "h": "sattach", "k": "sbcast", "m": "sacctmgr", "f": "sshare"}
PREFIXES = {"sbatch": "SBATCH_", "salloc": "SALLOC_", "srun": "SLURM_", "squeue": "SQUEUE_", "scancel": "SCANCEL_", "sinfo": "SINFO_",
            "sacct": "SACCT_", "scontrol": "SCONTROL_", "sattach": "SATTACH_", "sbcast": "SBCAST_",
            "sacctmgr": "SACCTMGR_", "sshare": "SSHARE_"}

Option = namedtuple("Option", "name short arg commands variables field cls note canonical")


def _variables(text, letters):
    """The variables column as {command: (variable, …)}."""
    found: dict = {}
    for token in text.split():
        if "=" in token:
            where, name, whole = token.partition("=")[0], token.partition("=")[2], True
        elif ":" in token:
            where, name, whole = token.partition(":")[0], token.partition(":")[2], False
        else:
            where, name, whole = letters, token, False
        for letter in where or letters:
            command = COMMANDS[letter]
            found.setdefault(command, []).append(name if whole else PREFIXES[command] + name)
    return {command: tuple(names) for command, names in found.items()}


def rows(*written):
    """Rows as written → tuple of Option, in the same order."""
    made = []
    for name, short, arg, letters, variables, field, cls, note, *same in written:
        commands = tuple(COMMANDS[letter] for letter in letters)
        made.append(Option(name, short, arg, commands, _variables(variables, letters), field, cls, note, same[0] if same else name))
    return tuple(made)
