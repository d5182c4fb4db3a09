"""reportseff and slurm2sql: what they make of sacct."""

import sqlite3
import subprocess

number = subprocess.run(["sbatch", "-W", "--parsable", "-A", "lab", "-t", "5", "--wrap", "srun true"], capture_output=True, text=True, check=True).stdout.strip()
report = subprocess.run(["reportseff", number, "--format", "jobid,state,timeeff,cpueff,memeff"], capture_output=True, text=True, check=True).stdout
assert number in report and "COMPLETED" in report, report
subprocess.run(["slurm2sql", "jobs.db", "--", "-j", number], check=True)
rows = sqlite3.connect("jobs.db").execute("SELECT JobID, Account, State FROM slurm ORDER BY JobID").fetchall()
assert rows[0] == (number, "lab", "COMPLETED"), rows
assert len(rows) == 3, rows
