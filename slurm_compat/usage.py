"""--help and --usage of sbatch, salloc and srun, made from the option table. Standard library, Python 3.6."""

from slurm_compat import optable

_FIRST = {
    "sbatch": "Usage: sbatch [OPTIONS(0)...] [ : [OPTIONS(N)...]] script(0) [args(0)...]",
    "salloc": "Usage: salloc [OPTIONS(0)...] [ : [OPTIONS(N)]] [command(0) [args(0)...]]",
    "srun": "Usage: srun [OPTIONS(0)... [executable(0) [args(0)...]]] [ : [OPTIONS(N)...]] executable(N) [args(N)...]",
}

# section → {option: (its value, what it is for)}
_SECTIONS = (
    ("Parallel run options", {
        "array": ("indexes", "job array index values"),
        "account": ("name", "charge job to specified account"),
        "begin": ("time", "start no earlier than this time"),
        "bell": ("", "ring the terminal's bell when the job is allocated"),
        "bcast": ("path", "copy the program to this path on the nodes first"),
        "chdir": ("path", "working directory"),
        "clusters": ("names", "clusters to ask; there is one"),
        "comment": ("text", "a comment to keep with the job"),
        "cpu-freq": ("min[-max[:gov]]", "CPU frequency to ask for"),
        "cpus-per-task": ("ncpus", "CPUs for each task"),
        "deadline": ("time", "drop the job if it cannot end before this time"),
        "delay-boot": ("mins", "wait so long for a node with the features before booting one"),
        "dependency": ("type:jobid[:time]", "start when this condition on other jobs holds"),
        "disable-status": ("", "one Ctrl-C interrupts at once"),
        "distribution": ("type", "how tasks are spread (block, cyclic, plane=N, arbitrary)"),
        "epilog": ("program", "run this on the submit host after the step"),
        "error": ("file", "where standard error goes"),
        "export": ("names", "environment variables to pass on"),
        "export-file": ("file", "file of environment variables to pass on"),
        "get-user-env": ("", "add the variables of a login on the node"),
        "gres": ("list", "generic resources for each node"),
        "gres-flags": ("opts", "enforce-binding or disable-binding"),
        "hold": ("", "submit in held state"),
        "ignore-pbs": ("", "take no notice of #PBS and #BSUB lines"),
        "immediate": ("secs", "give up when nothing is free within so many seconds"),
        "input": ("file", "where standard input comes from"),
        "interactive": ("", "run as the interactive step of the allocation"),
        "job-name": ("name", "name of the job"),
        "jobid": ("id", "run inside this allocation"),
        "kill-command": ("signal", "signal for the command when the allocation ends"),
        "kill-on-bad-exit": ("", "end the step when a task fails"),
        "kill-on-invalid-dep": ("yes|no", "cancel the job when its dependency can never hold"),
        "label": ("", "put the task number before each line"),
        "licenses": ("names", "licenses that the job needs"),
        "mail-type": ("type", "send mail at BEGIN, END, FAIL, …, or ALL"),
        "mail-user": ("user", "whom to send it"),
        "mpi": ("type", "kind of MPI to set up"),
        "multi-prog": ("", "the program is a file that names one for each task"),
        "network": ("type", "what the switch should provide"),
        "nice": ("value", "lower the job's priority by this much"),
        "no-bell": ("", "do not ring the bell"),
        "no-kill": ("", "keep the job when one of its nodes fails"),
        "no-requeue": ("", "never put the job back in the queue"),
        "no-shell": ("", "end at once and leave the allocation running"),
        "nodes": ("N", "nodes to run on (N = min[-max])"),
        "ntasks": ("N", "tasks to run"),
        "ntasks-per-node": ("n", "tasks on each node"),
        "open-mode": ("append|truncate", "how output files are opened"),
        "output": ("file", "where standard output goes"),
        "overcommit": ("", "more tasks than CPUs"),
        "overlap": ("", "share CPUs with other steps"),
        "oversubscribe": ("", "share nodes with other jobs"),
        "parsable": ("", "print only the number of the job"),
        "partition": ("name", "partition, or several"),
        "preserve-env": ("", "variables for nodes and tasks win over options"),
        "priority": ("value", "priority (operators)"),
        "prolog": ("program", "run this on the submit host before the step"),
        "profile": ("value", "what to profile"),
        "propagate": ("rlimits", "resource limits to pass on"),
        "pty": ("", "give task 0 a terminal"),
        "qos": ("name", "quality of service"),
        "quiet": ("", "say only what is wrong"),
        "quit-on-interrupt": ("", "one Ctrl-C ends the step"),
        "relative": ("n", "start at node n of the allocation"),
        "requeue": ("", "the job may be put back in the queue"),
        "signal": ("[[R][B]:]num[@time]", "send a signal so long before the time limit"),
        "spread-job": ("", "use as many nodes as possible"),
        "switches": ("max{@time}", "switches to stay within"),
        "task-epilog": ("program", "run this after each task"),
        "task-prolog": ("program", "run this before each task"),
        "test-only": ("", "say when it would start, submit nothing"),
        "time": ("minutes", "time limit"),
        "time-min": ("minutes", "least time limit to be content with"),
        "unbuffered": ("", "pass output on as it comes"),
        "use-min-nodes": ("", "of a range of nodes prefer the smaller number"),
        "verbose": ("", "say more"),
        "wait": ("sec", "wait for the end"),
        "wait-all-nodes": ("0|1", "start when all nodes are ready"),
        "wckey": ("name", "key for accounting"),
        "wrap": ("command", "submit this command line as a script"),
    }),
    ("Constraint options", {
        "contiguous": ("", "neighbouring nodes"),
        "constraint": ("list", "features that nodes must have"),
        "exclude": ("hosts", "nodes not to use"),
        "mem": ("MB", "memory on each node"),
        "mincpus": ("n", "least CPUs on each node"),
        "nodefile": ("file", "file of node names"),
        "nodelist": ("hosts", "nodes to use"),
        "reservation": ("name", "reservation to use"),
        "tmp": ("MB", "disk for temporary files on each node"),
    }),
    ("Consumable resources related options", {
        "exact": ("", "use only what the step asks for"),
        "exclusive": ("user", "share nodes with nobody"),
        "mem-per-cpu": ("MB", "memory for each CPU"),
    }),
    ("Affinity/Multi-core options", {
        "cores-per-socket": ("C", "cores on each socket"),
        "extra-node-info": ("S[:C[:T]]", "sockets, cores and threads in one"),
        "hint": ("type", "compute_bound, memory_bound, [no]multithread"),
        "ntasks-per-core": ("n", "tasks on each core"),
        "ntasks-per-socket": ("n", "tasks on each socket"),
        "sockets-per-node": ("S", "sockets on each node"),
        "threads-per-core": ("T", "threads on each core"),
    }),
    ("GPU scheduling options", {
        "cpus-per-gpu": ("n", "CPUs for each GPU"),
        "gpu-bind": ("...", "which task uses which GPU"),
        "gpus": ("n", "GPUs for the job"),
        "gpus-per-node": ("n", "GPUs on each node"),
        "gpus-per-socket": ("n", "GPUs on each socket"),
        "gpus-per-task": ("n", "GPUs for each task"),
        "mem-per-gpu": ("MB", "memory for each GPU"),
        "ntasks-per-gpu": ("n", "tasks for each GPU"),
    }),
    ("Help options", {
        "help": ("", "show this help message"),
        "usage": ("", "display brief usage message"),
    }),
    ("Other options", {
        "version": ("", "output version information and exit"),
    }),
)


def help_text(command):
    """The text of --help: the options that the command has, by section."""
    rows = optable.by_name(command)
    lines = [_FIRST[command]]
    for title, options in _SECTIONS:
        here = [(rows[name], value, text) for name, (value, text) in options.items() if name in rows]
        if here:
            lines += ["", title + ":"]
            lines += [_line(row, value, text) for row, value, text in here]
    return "\n".join(lines) + "\n"


def _line(row, value, text):
    argument = {optable.NONE: "", optable.REQUIRED: "=" + value, optable.OPTIONAL: "[=%s]" % value}[row.arg]
    left = "  %s--%s%s" % ("-%s, " % row.short if row.short else "    ", row.name, argument)
    return "%-29s %s" % (left, text)


_SBATCH_USAGE = """Usage: sbatch [-N nnodes] [-n ntasks]
              [-c ncpus] [-r n] [-p partition] [--hold] [--parsable] [-t minutes]
              [-D path] [--no-kill] [--overcommit]
              [--input file] [--output file] [--error file]
              [--time-min=minutes] [--licenses=names] [--clusters=cluster_names]
              [--chdir=directory] [--oversubscribe] [-m dist] [-J jobname]
              [--verbose] [--gid=group] [--uid=user]
              [--contiguous] [--mincpus=n] [--mem=MB] [--tmp=MB] [-C list]
              [--account=name] [--dependency=type:jobid[+time]] [--comment=name]
              [--mail-type=type] [--mail-user=user] [--nice[=value]] [--wait]
              [--requeue] [--no-requeue] [--ntasks-per-node=n] [--propagate]
              [--nodefile=file] [--nodelist=hosts] [--exclude=hosts]
              [--network=type] [--mem-per-cpu=MB] [--qos=qos] [--gres=list]
              [--mem-bind=...] [--reservation=name] [--mcs-label=mcs]
              [--cpu-freq=min[-max[:gov]]] [--power=flags] [--gres-flags=opts]
              [--switches=max-switches{@max-time-to-wait}] [--reboot]
              [--core-spec=cores] [--thread-spec=threads]
              [--bb=burst_buffer_spec] [--bbf=burst_buffer_file]
              [--array=index_values] [--profile=...] [--ignore-pbs] [--spread-job]
              [--export[=names]] [--export-file=file|fd] [--delay-boot=mins]
              [--use-min-nodes]
              [--cpus-per-gpu=n] [--gpus=n] [--gpu-bind=...] [--gpu-freq=...]
              [--gpus-per-node=n] [--gpus-per-socket=n] [--gpus-per-task=n]
              [--mem-per-gpu=MB]
              executable [args...]
"""  # a recorded answer of 22.05.8: the one usage text that programs are known to compare


def usage_text(command):
    """The text of --usage."""
    if command == "sbatch":
        return _SBATCH_USAGE
    rows = optable.by_name(command)
    words = []
    for _title, options in _SECTIONS:
        for name, (value, _text) in options.items():
            if name in rows and name not in ("help", "usage", "version"):
                row = rows[name]
                words.append("[--%s%s]" % (name, {optable.NONE: "", optable.REQUIRED: "=" + value}.get(row.arg, "[=%s]" % value)))
    head = "Usage: %s " % command
    lines, line = [], head
    for word in [*words, "[command [args...]]" if command == "salloc" else "executable [args...]"]:
        if len(line) + len(word) > 80:
            lines.append(line.rstrip())
            line = " " * len(head)
        line += word + " "
    return "\n".join([*lines, line.rstrip()]) + "\n"
