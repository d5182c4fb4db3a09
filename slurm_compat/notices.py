"""The sentences that Slurm writes by itself into a job's output or to srun's standard error while something runs.

`notice(kind, fields)` gives whole lines as bytes. Pure; standard library, Python 3.6.
"""

import time

# kind → (template, why it is said is in the name). {who} is "slurmstepd-NODE: error: " or "srun: ".
_STEPD = {
    "job_cancelled": "*** JOB {job} ON {node} CANCELLED AT {at}{due} ***",
    "step_cancelled": "*** STEP {job}.{step} ON {node} CANCELLED AT {at}{due} ***",
    "execve": "execve(): {path}: {error}",
    "chdir": "couldn't chdir to `{path}': {error}: going to /tmp instead",
    "memory": "StepId={job}.{step} exceeded memory limit ({used} > {limit}), being killed",
    "job_memory": "Exceeded job memory limit",
    "oom": "Detected 1 oom_kill event in StepId={job}.{step}. Some of the step tasks have been OOM Killed.",
    "task_prolog_missing": "run_command: user task_prolog can not be executed ({path}) {error}",
    "task_prolog_reason": "user task_prolog did not exit normally. reason: Run command failed - configuration error",
    "task_prolog_failed": "--task-prolog failed status={status}",
    "task_epilog_denied": "Could not run user task_epilog [{path}]: access denied",
    "task_epilog_failed": "TaskEpilog failed status={status}",
    "io_open": "Could not open {stream} file {path}: {error}",
    "site": "{error}",
    "mpi": "mpi/pmi2: {text}",
    "no_program": "No executable program specified for this task",
}
_SRUN = {
    "quit": "Quit",
    "aborted": "Job step aborted: Waiting up to {seconds} seconds for job step to finish.",
    "force_terminated": "Force Terminated StepId={job}.{step}",
    "terminating": "launch/slurm: _step_signal: Terminating StepId={job}.{step}",
    "interrupt": "interrupt (one more within 1 sec to abort)",
    "ctrl_c": "sending Ctrl-C to StepId={job}.{step}",
    "forcing": "forcing job termination",
    "got_sigcont": "got SIGCONT",
    "first_exited": "First task exited {seconds}s ago",
    "task_state": "StepId={job}.{step} {tasks}: {state}",
    "busy": "Job {job} step creation temporarily disabled, retrying ({reason})",
    "still_busy": "Job {job} step creation still disabled, retrying ({reason})",
    "created": "Step created for job {job}",
    "pending_cancelled": "Cancelled pending job step with signal {signum}",
    "no_step": "error: Unable to create step for job {job}: {reason}",
    "node_failed": "error: Node failure on {node}",
    "exited": "error: {node}: {tasks}: {how}",
    "launch_failed": "error: task {rank} launch failed: {reason}",
    "open_failed": "error: Could not open {stream} file: {error}",
    "winsize": "error: ioctl(TIOCGWINSZ): {error}",
    "no_pty": "error: Not using a pseudo-terminal, disregarding --pty option",
    "prolog_denied": "Access denied for {path}: {error}",
    "expired": "error: Slurm job {job} has expired",
    "check_job_id": "Check SLURM_JOB_ID environment variable. Expired or invalid job {job}",
    "step_lost": "error: The head node's supervisor went away",
}
_DUE = {
    "time_limit": " DUE TO TIME LIMIT",
    "requeue": " DUE TO JOB REQUEUE",
    "preempt": " DUE TO PREEMPTION",
    "node_fail": " DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS",
}


def stamp(when):
    """Local time as in these sentences: 2026-11-24T09:27:18."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(when))


def notice(kind, fields):
    """The text (bytes, whole lines) of notice `kind`. fields by kind; `time` (seconds since the epoch) and `why` where it says when and
    due to what; `command` in place of srun. KeyError for an unknown kind or a missing field."""
    values = dict(fields)
    if "time" in values:
        values["at"] = stamp(values["time"])
    values["due"] = _DUE.get(values.get("why", ""), "")
    if kind in _STEPD:
        line = "slurmstepd-%s: error: %s\n" % (values["node"], _STEPD[kind].format(**values))
    else:
        line = "%s: %s\n" % (values.get("command", "srun"), _SRUN[kind].format(**values))
    return line.encode("utf-8", "surrogateescape")
