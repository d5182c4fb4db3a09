"""Slurm's small languages, a parser each. Pure; standard library, Python 3.6: nodes use some of them.

Every parser raises `Invalid` for what Slurm would refuse, with Slurm's words.
"""


class Invalid(ValueError):
    """A value that Slurm refuses.

    `lines`: what Slurm prints, in order, each a pair (kind, text): "error" and "fatal" lines begin with "COMMAND: error: " and
    "COMMAND: fatal: ", "info" with "COMMAND: ", "raw" with nothing. `code`: the exit code; `fixed`: SLURM_EXIT_ERROR does not change it.
    """

    def __init__(self, text, code=255, kind="error", before=(), out="", fixed=False):
        self.lines = tuple(before) + (((kind, text),) if text else ())
        self.code = code
        self.fixed = fixed or code != 1 or kind == "fatal"
        self.out = out  # for standard output (help texts)
        super().__init__(text)

    def text(self, command):
        """The lines as `command` prints them, newline at the end of each."""
        return "".join(spoken(command, kind, line) for kind, line in self.lines)


_LEAD = {"error": "%s: error: ", "fatal": "%s: fatal: ", "info": "%s: ", "raw": ""}


def spoken(command, kind, line):
    """One line as `command` prints it."""
    lead = _LEAD[kind]
    return (lead % command if "%" in lead else lead) + line + "\n"


def invalid(option):
    """The most common refusal: "Invalid --OPTION specification", exit code 255."""
    return Invalid("Invalid --%s specification" % option)
