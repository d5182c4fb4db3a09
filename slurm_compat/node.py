"""What the agent asks of Slurm's language on a node: the functions of `sbroker.api.NodeFront`, as one module.

Standard library, Python 3.6: it travels in the agent's zipapp with all that it imports.
"""

from slurm_compat import filenames
from slurm_compat import talk as talking
from slurm_compat.environ import alloc_environ, batch_environ, exported_names, login_environ, step_environ, submitted_environ, task_environ
from slurm_compat.filenames import filename
from slurm_compat.layout import layout
from slurm_compat.notices import notice
from slurm_compat.small import layout_text, parse_sattach, parse_sbcast
from slurm_compat.srun import parse_step

__all__ = [
    "CAUGHT",
    "CLIENT",
    "FILES",
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
    "step_environ",
    "submitted_environ",
    "talk",
    "task_environ",
    "tasks_text",
]

CLIENT = ("client.py", "attach.py", "reach.py")  # data to the agent: what it makes the commands of on its node
CAUGHT = talking.CAUGHT  # the signals that srun handles itself
filename_items = filenames.items
tasks_text = talking.tasks_text
talk = talking.Talk

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
