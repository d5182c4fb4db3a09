"""scontrol's help, in our own words; the first lines are laid out as Slurm's."""

TEXT = """\
scontrol [<OPTION>] [<COMMAND>]
    Valid <OPTION> values are:
     -a, --all        show hidden partitions and their jobs, too
     -d, --details    show more about jobs: the share of each node, the derived exit code
     -h, --help       this text
     --hide           do not show hidden partitions (the default)
     -M, --cluster    only this cluster's own name is known
     -o, --oneliner   one line a record
     -Q, --quiet      no complaints, only exit codes
     -u, --uid        accepted for operators
     -v, --verbose    more words
     -V, --version    the release of Slurm that is imitated

  Without a command, scontrol reads commands from standard input, a line each, until "exit", "quit" or its end.

    Valid <COMMAND> values are (they may be abbreviated):
     all, hide                    as the options of these names
     completing                   jobs that have ended but are not gone from all their nodes
     details, oneliner, quiet, verbose
                                  as the options of these names
     errnumstr <ERRNO>            what an error number of Slurm means
     exit, quit                   end
     help                         this text
     hold <job_list>              keep pending jobs from starting; an operator's hold only operators release
     holdu, uhold <job_list>      hold so that the owner may release
     listpids, pidinfo            processes of jobs, on the node that has them
     ping                         is the controller up?
     release <job_list>           end a hold
     requeue <job_list>           end jobs and queue them again
     requeuehold <job_list>       the same, and hold them
     resume <job_list>            end a suspension
     show <ENTITY> [<ID>]         print records
     suspend <job_list>           stop the processes of running jobs
     update <SPECIFICATIONS>      change a job, node or partition
     version                      the release of Slurm that is imitated
     wait_job <job_id>            wait until a job runs
     write batch_script <job_id> [<file>]
                                  the script of a job, into a file or ("-") to standard output
     !!                           the command before, once more

  <job_list>: numbers with commas, array tasks as 12_3 or 12_[1-5,7]; hold and release take jobname=NAME, too.
  <ENTITY>: aliases, config, daemons, federation, frontend, hostlist, hostlistsorted, hostnames, job, licenses, node,
  partition, reservation, slurmd, step, topology.
  <SPECIFICATIONS>: KEY=VALUE pairs as "show" prints them, among them JobId=, NodeName= or PartitionName=.
"""
