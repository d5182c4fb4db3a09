"""AiiDA's scheduler plugin alone: its script, its squeue, its sacct, its scancel, and how it reads them."""

import pathlib
import subprocess
import time

from aiida.common.datastructures import CodeRunMode
from aiida.schedulers.datastructures import JobState, JobTemplate, JobTemplateCodeInfo
from aiida.schedulers.plugins.slurm import SlurmScheduler


def run(command):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


class Transport:
    def whoami(self):
        return run("id -un")[1].strip()


scheduler = SlurmScheduler()
scheduler.set_transport(Transport())
template = JobTemplate()
template.job_name, template.queue_name, template.account = "aiida", "debug", "lab"
template.max_wallclock_seconds, template.max_memory_kb, template.rerunnable = 300, 204800, True
template.sched_output_path, template.sched_error_path = "aiida.out", "aiida.err"
template.import_sys_environment = template.submit_as_hold = False
template.job_resource = scheduler.create_job_resource(num_machines=2, num_mpiprocs_per_machine=2)
code = JobTemplateCodeInfo()
code.cmdline_params, code.prepend_cmdline_params = ["srun", "-n", "4", "sleep", "30"], []
template.codes_info, template.codes_run_mode = [code], CodeRunMode.SERIAL
pathlib.Path("aiida.sh").write_text(scheduler.get_submit_script(template))
number = scheduler._parse_submit_output(*run(scheduler._get_submit_command("aiida.sh")))
for _ in range(100):
    (info,) = scheduler._parse_joblist_output(*run(scheduler._get_joblist_command(jobs=[number])))
    if info.job_state is JobState.RUNNING:
        break
    time.sleep(0.1)
assert (info.job_id, info.num_machines, info.num_mpiprocs, info.requested_wallclock_time_seconds) == (number, 2, 4, 300), info
assert len(scheduler._parse_joblist_output(*run(scheduler._get_joblist_command(user=Transport().whoami())))) == 1
assert scheduler._parse_joblist_output(*run(scheduler._get_joblist_command(jobs=["999999"]))) == []
assert scheduler._parse_kill_output(*run(scheduler._get_kill_command(number)))
code, out, err = run(scheduler._get_detailed_job_info_command(number))
assert (code, err) == (0, "")
assert number in out
scheduler.parse_output({"retval": code, "stdout": out, "stderr": err}, "", "")
