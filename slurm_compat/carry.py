"""What --export carries to a machine that is not like the submit host: one table, which sbatch(1) shows (scripts/carry_table.py).

A job is written for the cluster, not for the host it is submitted from: whatever the user set for it goes along. What says where something
lies on the submit host, who answers there, or who the user is there, would be wrong on the node or be a secret that nobody meant to hand
out: it stays, unless --export names it. Twins get everything. Pure; standard library, Python 3.6.
"""

NO, OWN = "no", "own"


class Row:
    """names: exact ones, or a prefix that ends with a star. goes: "no", or "own": the node has its own value, which it gets when the
    variable was exported at all. What no row names is carried as it is."""

    __slots__ = ("goes", "names", "why")

    def __init__(self, names, goes, why):
        self.names, self.goes, self.why = names, goes, why


TABLE = (
    Row("PATH", OWN, "folders of the submit host; a job has the commands of Slurm and the path that a login gets on the node, and what"
        " --export names stands before these"),
    Row("HOME USER LOGNAME SHELL", OWN, "who the user is on the node, by the node's own records"),
    Row("PWD HOSTNAME", OWN, "the folder and the machine that the job runs in"),
    Row("OLDPWD SHLVL _ HOST HOSTTYPE MACHTYPE OSTYPE MAIL", NO, "the state of a shell on the submit host; a shell on the node has its own"),
    Row("TMPDIR TMP TEMP TEMPDIR", NO, "a folder for this session on the submit host; a batch job has TMPDIR=/tmp"),
    Row("LD_* GCONV_PATH LOCPATH", NO, "libraries of the submit host: with others, or none, in their place programs do not start"),
    Row("PYTHON* VIRTUAL_ENV* CONDA_* _CE_* MAMBA_* PYENV_* PIPENV_* POETRY_ACTIVE", NO,
        "a Python that is installed on the submit host; an environment that is staged is set anew on the node"),
    Row("PERL5LIB PERLLIB PERL5OPT RUBYLIB RUBYOPT GEM_HOME GEM_PATH NODE_PATH JAVA_HOME R_HOME GOROOT TCLLIBPATH OPAL_PREFIX", NO,
        "where an interpreter or a library finds its own parts on the submit host"),
    Row("MODULEPATH* LOADEDMODULES _LMFILES_* MODULESHOME MODULES_* __MODULES_* LMOD_* __LMOD_* _ModuleTable*", NO,
        "what is loaded on the submit host; the key modules of a site, or the job's script, loads what the node has"),
    Row("BASH_FUNC_* BASH_ENV ENV FPATH PROMPT_COMMAND", NO, "functions and start files of a shell there, which call what is not on the node"),
    Row("XDG_* DBUS_* DISPLAY WAYLAND_DISPLAY XAUTHORITY SESSION_MANAGER DESKTOP_SESSION WINDOWID PULSE_SERVER GNOME_* GTK_* QT_* VTE_*", NO,
        "the session and the desktop on the submit host"),
    Row("SSH_* GPG_AGENT_INFO GPG_TTY GIT_ASKPASS VSCODE_* TMUX TMUX_* STY", NO, "sockets of agents and terminals that nobody serves on the node"),
    Row("KRB5CCNAME KRB5_KTNAME", NO, "a ticket in a file or the kernel of the submit host; the node does not have it"),
    Row("AWS_* GOOGLE_* GCLOUD_* CLOUDSDK_* AZURE_* ARM_CLIENT_* ARM_ACCESS_KEY ARM_SAS_TOKEN OS_AUTH_* OS_PASSWORD OS_TOKEN"
        " OS_APPLICATION_CREDENTIAL_* OCI_* DIGITALOCEAN_* HCLOUD_TOKEN SCW_* CLOUDFLARE_* ALIBABA_CLOUD_* VAULT_* KUBECONFIG KUBERNETES_*", NO,
        "cloud credentials and what selects them: they spend money and open data, and the node may have a role of its own"),
    Row("DOCKER_* CONTAINER_HOST CONTAINERS_*", NO, "the container service of the submit host and its passwords"),
    Row("GITHUB_TOKEN GH_TOKEN GITLAB_TOKEN CI_JOB_TOKEN", NO, "tokens that write to repositories"),
    Row("HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy ftp_proxy all_proxy no_proxy", NO,
        "the way out of the submit host's network, often with a password in it; a site has its own in the key env"),
    Row("TERMINFO TERMINFO_DIRS LESSOPEN LESSCLOSE MANPATH INFOPATH", NO, "files and programs of the submit host that show text"),
    Row("SUDO_* INVOCATION_ID JOURNAL_STREAM NOTIFY_SOCKET LISTEN_* MANAGERPID SYSTEMD_EXEC_PID", NO, "the service that started the shell"),
    Row("SBROKER_*", NO, "which broker answers the commands: inside a job it is the job's own"),
)

_EXACT, _PREFIXES = {}, []
for _row in TABLE:
    for _name in _row.names.split():
        if _name.endswith("*"):
            _PREFIXES.append((_name[:-1], _row))
        else:
            _EXACT[_name] = _row
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def row_of(name):
    """The row that speaks of the variable; None for one that is carried."""
    found = _EXACT.get(name)
    if found is None:
        found = next((row for prefix, row in _PREFIXES if name.startswith(prefix)), None)
    return found


def items(export):
    """The items of --export: separated by commas, a value may be quoted to hold some."""
    found, item, quote = [], "", ""
    for letter in export:
        if quote:
            if letter == quote:
                quote = ""
            else:
                item += letter
        elif letter in "'\"":
            quote = letter
        elif letter == ",":
            found.append(item)
            item = ""
        else:
            item += letter
    return [item for item in found + [item] if item]


def named(export):
    """The variables that the text after --export= names (set); ALL, NONE and NIL name none."""
    return {item.partition("=")[0] for item in items(export or "")} - {"ALL", "NONE", "NIL"}


def carried(env, names, own):
    """What of `env` (str → str) the node gets. `names`: those that the user named, None for all. `own`: the node's values of OWN rows."""
    if names is None:
        names = env
    result = {}
    for name, value in env.items():
        row = row_of(name)
        if row is None or (name in names and name != "PATH"):
            result[name] = value
        elif row.goes == OWN and own.get(name):
            result[name] = paths(value, own[name]) if name in names else own[name]
    return result


def paths(first, then):
    """Two search paths as one: what stands in `first` already is not repeated."""
    known = first.split(":")
    return ":".join(known + [folder for folder in then.split(":") if folder and folder not in known])


def world(info, site):
    """What a site's machines are alike with: "" the submit host and its twins, else the site itself."""
    if not site or (info.get("sites") or {}).get(site, {}).get("twin"):
        return ""
    return site


def foreign(info, node, origin):
    """Whether an environment that was made at `origin` (a site, "" the submit host) is of another world than the node's."""
    return world(info, site_of(info, node)) != world(info, origin)


def site_of(info, node):
    """The site of one of the run's nodes, "" where nobody said (then it is like the submit host)."""
    site = next((share.get("site") or "" for share in info["nodes"] if share["node"] == node), "")
    return site if site in (info.get("sites") or {}) else ""
