"""A login into a run: sshd in inetd mode for one connection, behind a channel of kind "ssh".

It is the run's own: forked by the supervisor, as the run's user, inside its limits and gone at its end. The host key and the one key
that may enter come with the connection and lie in a folder of their own until it ends. Nothing of SSH itself is done here.
"""

import os

from . import commands, lean, tasks
from . import sockets as socket
from .link import Channel
from .loop import Stream

STEP = -4  # Slurm's number for what is in a job and of none of its steps
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/local/bin", "/usr/bin")
_HIGH = 1 << 18  # bytes on their way to the broker before sshd is no longer read
_PRIVSEP = "/run/sshd"  # root's sshd wants this folder, which only a boot with a running sshd makes
_KEPT = 4096  # bytes of what sshd said, for the sentence about its end
_CONFIG = """\
HostKey "{folder}/host"
AuthorizedKeysFile "{escaped}/authorized"
AuthenticationMethods publickey
PermitRootLogin prohibit-password
PermitUserEnvironment yes
StrictModes no
UsePAM no
UseDNS no
LoginGraceTime 60
MaxAuthTries 20
X11Forwarding yes
PrintMotd no
PidFile none
LogLevel ERROR
Subsystem sftp internal-sftp
"""


class NoServer(Exception):
    """There is no sshd on this node."""


class Login:
    """One connection. `calls`: the supervisor's Calls; `over(number)` is called when nothing more comes."""

    def __init__(self, calls, number, over):
        self.sup, self._tell, self._number, self._over = calls.sup, calls.tell_all, number, over
        self.channel = Channel(number)
        self.stream = self.process = None
        self.folder = ""
        self._owed = self._said = 0
        self._gone = False
        self._log = -1

    def begin(self, body):
        """Start sshd. body: JSON {"host_key": private key in OpenSSH's form, "authorized": one public key}. What cannot be is told."""
        try:
            self._start(lean.loads(body.decode("utf-8")))
        except NoServer:
            self._refuse("no sshd", "there is no sshd on node %s" % self.sup.node)
        except RuntimeError:
            self._refuse("refused", "job %s runs no more on node %s, or not yet" % (self.sup.info["job"], self.sup.node))
        except (OSError, KeyError, TypeError, ValueError) as error:
            self._refuse("refused", "no login on node %s: %s" % (self.sup.node, error))

    def _refuse(self, why, sentence):
        self._tell([({"op": "chan_close", "chan": self._number, "why": why, "error": sentence}, b"")])
        self._clean()

    def _start(self, keys):
        sup, program = self.sup, _program()
        if program is None:
            raise NoServer
        self.folder = sup.rundir.file("login-%s" % self._number)
        os.mkdir(self.folder, 0o700)
        self._write("host", keys["host_key"])
        self._write("authorized", _environment(self._environ()) + " " + _one_key(keys["authorized"]) + "\n")
        self._write("config", _CONFIG.format(folder=self.folder, escaped=self.folder.replace("%", "%%")))
        self._log = os.open(os.path.join(self.folder, "log"), os.O_RDWR | os.O_CREAT, 0o600)
        if os.geteuid() == 0:
            os.makedirs(_PRIVSEP, 0o755, exist_ok=True)
        spec = sup.info["spec"]
        ours, theirs = socket.socketpair()
        try:
            fds = (theirs.fileno(), theirs.fileno(), self._log)
            plan = tasks.Plan([program, "-i", "-e", "-f", os.path.join(self.folder, "config")], {"PATH": ":".join(_PLACES)}, "/", fds,
                              session=True, umask=spec.get("umask"), limits=spec.get("limits"), step=STEP)
            self.process = sup.spawn(plan, self._ended)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.stream = Stream(sup.loop, ours, self._up)
        self.stream.on_close = lambda error: self._closed()
        self.stream.on_drain = self._drained
        self.stream.resume()

    def _write(self, name, text):
        fd = os.open(os.path.join(self.folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)

    def _environ(self):
        """What a shell in the job has beyond a plain login."""
        sup = self.sup
        env = dict(sup.front.login_environ(sup.info, sup.node), SBROKER_SOCKET=sup.calls.path, PATH="/usr/local/bin:/usr/bin:/bin")
        commands.offer(sup, env)
        return env

    # --- bytes

    def _up(self, data):
        self._said += len(data)
        frames = self.channel.send(data)
        if self.channel.pending > _HIGH:
            self.stream.pause()
        self._tell(frames)

    def _drained(self):
        owed, self._owed = self._owed, 0
        self._tell(self.channel.consumed(owed))

    def frame(self, op, header, body):
        """A frame of this channel."""
        if op == "chan_data" and self.stream is not None:
            self.stream.write(body)
            if self.stream.pending:
                self._owed += len(body)  # credit when sshd has taken it
            else:
                self._tell(self.channel.consumed(len(body)))
        elif op == "chan_credit":
            self._tell(self.channel.credited(header["bytes"]))
            if not self.channel.pending and self.stream is not None and not self.stream.closed:
                self.stream.resume()
            self._finished()
        elif op == "chan_close":
            self.cut()

    def cut(self):
        """Nobody is at the other end any more: sshd sees a connection that was closed, and hangs its sessions up."""
        self._gone = True
        if self.stream is not None:
            self.stream.close()
        self._over(self._number)

    # --- ends

    def _closed(self):
        """sshd has closed its side: what it said still goes, then the channel ends. One that said nothing has a reason, see `_ended`."""
        if self._said:
            self._tell(self.channel.close("done"))
            self._finished()

    def _finished(self):
        if self.stream is not None and self.stream.closed and not self.channel.pending:
            self._over(self._number)

    def _ended(self, process):
        said = os.pread(self._log, _KEPT, 0).decode("utf-8", "replace").strip()
        if not self._said and not self._gone:
            self._tell([({"op": "chan_close", "chan": self._number, "why": "refused", "error": "sshd on node %s: %s" % (self.sup.node, said)}, b"")])
            self.cut()
        self._clean()

    def _clean(self):
        if self._log >= 0:
            os.close(self._log)
            self._log = -1
        if self.folder:
            import shutil

            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = ""
        if self.process is None:
            self._over(self._number)


def _program():
    """The path of sshd, which wants to be called by its whole name; None where there is none."""
    for folder in _PLACES:
        path = os.path.join(folder, "sshd")
        if os.access(path, os.X_OK):
            return path
    return None


def _one_key(text):
    """A line of authorized_keys without options. ValueError for anything else: what is put before a key gives it rights."""
    words = text.split()
    if len(words) not in (2, 3) or "\n" in text.strip() or not words[0].startswith(("ssh-", "ecdsa-", "sk-")):
        raise ValueError("not a public key")
    return " ".join(words[:2])


def _environment(env):
    """Variables as options of an authorized key, which every sshd understands that is in use. One that
    cannot be written so is left out."""
    items = []
    for name, value in sorted(env.items()):
        if "\n" not in value and '\\"' not in value and not value.endswith("\\"):  # sshd knows no escape but that of the quote
            items.append('environment="%s=%s"' % (name, value.replace('"', '\\"')))
    return ",".join(items)
