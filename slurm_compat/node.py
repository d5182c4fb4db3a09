"""What the agent asks of Slurm's language on a node: the functions of `sbroker.api.NodeFront`, as one module.

Standard library, Python 3.6: it travels in the agent's zipapp with all that it imports.
"""

import _signal as signal

from slurm_compat import filenames
from slurm_compat.environ import alloc_environ, batch_environ, exported_names, login_environ, step_environ, submitted_environ, task_environ
from slurm_compat.filenames import filename
from slurm_compat.layout import layout
from slurm_compat.notices import notice

__all__ = [
    "CAUGHT",
    "CLIENT",
    "FILES",
    "START",
    "alloc_environ",
    "batch_environ",
    "exported_names",
    "filename",
    "filename_items",
    "layout",
    "layout_text",
    "login_environ",
    "notice",
    "parse_sattach",
    "parse_sbcast",
    "parse_step",
    "preload",
    "step_environ",
    "submitted_environ",
    "talk",
    "task_environ",
    "tasks_text",
]



def parse_step(info, call):
    from slurm_compat import srun

    return srun.parse_step(info, call)


def parse_sattach(call, imitate):
    from slurm_compat import small

    return small.parse_sattach(call, imitate)


def parse_sbcast(call, imitate):
    from slurm_compat import small

    return small.parse_sbcast(call, imitate)


def talk(request, fields):
    from slurm_compat import talk

    return talk.Talk(request, fields)


def tasks_text(ranks):
    from slurm_compat import talk

    return talk.tasks_text(ranks)


def layout_text(found):
    from slurm_compat import small

    return small.layout_text(found)


def preload():
    """The parsers, which take as long to load as all else here: only a head needs them, and a supervisor has them from the agent it was forked of."""
    from slurm_compat import small, srun  # noqa: F401


CLIENT = ("client.py", "attach.py", "reach.py")  # data to the agent: what it makes the commands of on its node
# the signals that srun handles itself
CAUGHT = (
    signal.SIGCONT,  # before SIGTERM, which ends a job together with it: who would not die of the one also hears the other
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGPIPE,
    signal.SIGALRM,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
filename_items = filenames.items

# what the zipapp needs, relative to slurm_compat/: this module and all that it imports
FILES = (
    *CLIENT,
    "__init__.py",
    "carry.py",
    "environ.py",
    "filenames.py",
    "getopt.py",
    "grammar",
    "hostlist.py",
    "layout.py",
    "multiprog.py",
    "node.py",
    "notices.py",
    "optable.py",
    "optable_query.py",
    "optable_submit.py",
    "optrow.py",
    "releases.py",
    "small.py",
    "srun.py",
    "srunsize.py",
    "talk.py",
)
# of these, what is loaded with this module
START = ("slurm_compat", *("slurm_compat." + word for word in ('carry', 'environ', 'filenames', 'hostlist', 'layout', 'node', 'notices')))
