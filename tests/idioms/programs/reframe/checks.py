import reframe as rfm
import reframe.utility.sanity as sn


@rfm.simple_test
class Ranks(rfm.RunOnlyRegressionTest):
    valid_systems = ["*"]
    valid_prog_environs = ["*"]
    executable = "bash"
    executable_opts = ["-c", "'echo rank $SLURM_PROCID'"]
    num_tasks = 4
    num_tasks_per_node = 2

    @sanity_function
    def ranks(self):
        return sn.assert_eq(sn.count(sn.findall(r"rank \d", self.stdout)), 4)


@rfm.simple_test
class AllIdleNodes(rfm.RunOnlyRegressionTest):
    valid_systems = ["*:slurm"]
    valid_prog_environs = ["*"]
    executable = "hostname"
    num_tasks = 0
    num_tasks_per_node = 1

    @sanity_function
    def nodes(self):
        return sn.assert_eq(sn.count(sn.findall(r"\S+", self.stdout)), self.num_tasks)


@rfm.simple_test
class Array(rfm.RunOnlyRegressionTest):
    valid_systems = ["*"]
    valid_prog_environs = ["*"]
    executable = "hostname"

    @run_before("run")
    def two(self):
        self.job.options += ["--array=0-1"]

    @sanity_function
    def ran(self):
        return sn.assert_true(1)
