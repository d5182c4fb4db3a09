"""clusterfutures: a function and a map as jobs."""

import os

import cfut


def square(number):
    return number * number, int(os.environ["SLURM_JOB_ID"])


with cfut.SlurmExecutor(additional_setup_lines=["#SBATCH --time=3"]) as executor:
    assert executor.submit(square, 5).result()[0] == 25
    assert [answer for answer, _ in executor.map(square, [5, 7, 11])] == [25, 49, 121]
