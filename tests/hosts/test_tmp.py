import subprocess,os
def test_first(system):
    print(system.sh("srun -N1 hostname; sbatch -W -N1 --wrap hostname; sacct -X -o jobid,state,exitcode,reason%80;scontrol show job 1; cat ../home/logs/*; ls -R ../home"))
    print(system.on("n1", "cat /home/ubuntu/.sbroker/*/n1/agent.log; find /home/ubuntu -type f| xargs ls -la"))
