"""snakemake: with its executor for Slurm (account, QOS and report), and in the older style with sbatch as its submit command."""

import pathlib
import subprocess

# --slurm-init-seconds-before-status-checks: the plugin waits 40 seconds otherwise before it looks the first time
subprocess.run(
    ["snakemake", "--executor", "slurm", "-j", "4", "--slurm-qos", "high", "--slurm-efficiency-report", "--slurm-init-seconds-before-status-checks", "2",
     "--default-resources", "slurm_account=lab", "slurm_partition=debug"],
    check=True,
)
lines = pathlib.Path("merged.txt").read_text().split("\n")
assert [line.split()[0::2] for line in lines if line] == [["0", "2"], ["1", "2"], ["2", "2"]], lines
asked = ["sacct", "-nXP", "-o", "Account,QOS,State"]
assert set(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()) >= {"lab|high|COMPLETED"}

subprocess.run(["snakemake", "--delete-all-output", "-c1"], check=True)
submit = "sbatch --parsable -p debug -c {threads} --mem {resources.mem_mb}M -t {resources.runtime} -o slurm-{rule}-%j.out"
subprocess.run(
    ["snakemake", "--executor", "cluster-generic", "--cluster-generic-submit-cmd", submit, "--cluster-generic-status-cmd", "./status.sh",
     "--cluster-generic-cancel-cmd", "scancel", "-j", "4"],
    check=True,
)
assert len(pathlib.Path("merged.txt").read_text().split("\n")) == 4
