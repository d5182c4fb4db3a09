"""The releases of Slurm that can be imitated. Standard library, Python 3.6: node modules ask here too."""

VERSIONS = {"22.05": "22.05.8", "24.11": "24.11.5"}


def release(imitate):
    """"22.05.8" for `imitate` 22.05; the default's for one that is not known."""
    return VERSIONS.get(str(imitate), VERSIONS["22.05"])


def version(imitate):
    """`slurm 22.05.8`: what --version prints, on every command."""
    return "slurm " + release(imitate)
