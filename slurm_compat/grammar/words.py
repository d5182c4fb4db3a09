"""Options whose value is one of a few words: distribution, mail types, exclusive, hint, … Standard library, Python 3.6."""

import re

from slurm_compat.grammar import Invalid, invalid

_LEVELS = ("block", "cyclic", "fcyclic")


def distribution(text):
    """--distribution → its normal spelling, e.g. "cyclic:block,pack". Raises Invalid."""
    main, comma, extra = text.partition(",")
    words = main.lower().split(":")
    if words[0] in ("pack", "nopack") and not comma and len(words) == 1:
        return words[0]
    if extra.lower() not in (("pack", "nopack") if comma else ("",)):
        if words[0].startswith("plane"):
            raise _plane()
        raise invalid("distribution")
    suffix = comma + extra.lower()
    if words[0].startswith("plane"):
        size = re.match(r"plane=([0-9]+)$", words[0])
        if not size or not int(size.group(1)) or comma or len(words) > 1:
            raise _plane()
        return words[0]
    if words[0] == "arbitrary":
        if len(words) > 1:
            raise invalid("distribution")
        return words[0] + suffix
    if len(words) > 3 or words[0] not in ("block", "cyclic", "*"):
        raise invalid("distribution")
    normal = ["block" if words[0] == "*" else words[0]]
    for word in words[1:]:
        if word == "":
            break
        if word not in (*_LEVELS, "*"):
            raise invalid("distribution")
        normal.append("cyclic" if word == "*" else word)
    return ":".join(normal) + suffix


def _plane():
    return Invalid("Invalid --distribution specification", before=(("error", "Invalid plane size or size not specified"),))


# in the order in which Slurm lists them
MAIL_TYPES = ("ARRAY_TASKS", "INVALID_DEPEND", "BEGIN", "END", "FAIL", "REQUEUE", "STAGE_OUT", "TIME_LIMIT_50", "TIME_LIMIT_80",
              "TIME_LIMIT_90", "TIME_LIMIT")
MAIL_ALL = ("INVALID_DEPEND", "BEGIN", "END", "FAIL", "REQUEUE", "STAGE_OUT")


def mail_types(text):
    """--mail-type → tuple of MAIL_TYPES in their order; () for NONE. A list may hold unknown words if one is known. Raises Invalid."""
    chosen: set = set()
    for word in text.split(","):
        word = word.upper()
        if word == "NONE":
            return ()
        if word == "ALL":
            chosen.update(MAIL_ALL)
        elif word in MAIL_TYPES:
            chosen.add(word)
    if not chosen:
        raise invalid("mail-type")
    return tuple(word for word in MAIL_TYPES if word in chosen)


def exclusive(value):
    """--exclusive[=user|mcs] → "node", "user" or "mcs". `value` None or "": no argument. Raises Invalid."""
    if not value:
        return "node"
    if value.lower() in ("user", "mcs"):
        return value.lower()
    if value.lower() == "exclusive":
        return "node"
    raise invalid("exclusive")


def open_mode(text):
    """--open-mode → "append" or "truncate", by the first letter. Raises Invalid."""
    if text[:1] in ("a", "A"):
        return "append"
    if text[:1] in ("t", "T"):
        return "truncate"
    raise invalid("open-mode")


def gres_flags(text):
    """--gres-flags, one word. Raises Invalid."""
    if text.lower() in ("disable-binding", "enforce-binding"):
        return text.lower()
    raise invalid("gres-flags")


HINT_HELP = """Application hint options:
    --hint=             Bind tasks according to application hints
        compute_bound   use all cores in each socket
        memory_bound    use only one core in each socket
        [no]multithread [don't] use extra threads with in-core multi-threading
        help            show this help message
"""


def hint(text):
    """--hint. Raises Invalid, for "help" with the text on standard output."""
    word = text.lower()
    if word == "help":
        raise Invalid("", 1, out=HINT_HELP)
    if word in ("compute_bound", "memory_bound", "multithread", "nomultithread"):
        return word
    raise Invalid('unrecognized --hint argument "%s", see --hint=help' % text, 1)


def yes_no(text, option):
    """yes or no → bool. Raises Invalid."""
    if text.lower() in ("yes", "no"):
        return text.lower() == "yes"
    raise invalid(option)


def no_kill(value):
    """--no-kill[=off] → bool. Raises Invalid."""
    if not value:
        return True
    if value.lower() in ("off", "no"):
        return False
    raise invalid("no-kill")


PROFILES = ("Energy", "Lustre", "Network", "Task")


def profile(text):
    """--profile → its normal spelling. Raises Invalid."""
    words = [word.lower() for word in text.split(",")]
    if "none" in words:
        return "None"
    if "all" in words:
        return ",".join(PROFILES)
    chosen = [name for name in PROFILES if name.lower() in words]
    if not chosen:
        raise Invalid("invalid --profile=%s option" % text)
    return ",".join(chosen)


RLIMITS = ("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS")


def propagate(value):
    """--propagate[=list] → tuple of RLIMITS to send. Raises Invalid."""
    if not value or value == "ALL":
        return RLIMITS
    if value == "NONE":
        return ()
    names = []
    for word in value.split(","):
        name = word[7:] if word.startswith("RLIMIT_") else word
        if name not in RLIMITS:
            raise Invalid("--propagate=%s is not valid." % value, 1, before=(("error", "Bad rlimit name: %s" % word),))
        names.append(name)
    return tuple(name for name in RLIMITS if name in names)


_CPU_FREQ = re.compile(r"(low|medium|highm1|high|[ \t]*\+?[0-9]+.*|conservative|ondemand|performance|powersave|schedutil|userspace)$", re.I)


def cpu_freq(text):
    """--cpu-freq=MIN[-MAX[:GOVERNOR]], kept as typed. Raises Invalid."""
    first = re.split("[-:]", text, maxsplit=1)[0]
    for part in [first, *re.split("[-:]", text)[1:]]:
        if not _CPU_FREQ.match(part):
            raise Invalid("Invalid --cpu-freq argument", before=(("error", 'unrecognized --cpu-freq argument "%s"' % part),))
    return text


_GPU_BIND = re.compile(r"(verbose,|v,)?(closest|none|single:[0-9]+|per_task:[0-9]+|(map_gpu|mask_gpu):.+)$", re.I)
_GPU_FREQ = re.compile(r"((low|medium|high|highm1|[0-9]+|memory=(low|medium|high|highm1|[0-9]+)|verbose),?)+$", re.I)


def gpu_bind(text):
    """--gpu-bind, kept as typed. Raises Invalid."""
    if not _GPU_BIND.match(text[4:] if text.startswith("gpu:") else text):
        raise Invalid("Invalid --gpu-bind argument: gpu:%s" % text)
    return text


def gpu_freq(text):
    """--gpu-freq, kept as typed. Raises Invalid."""
    if not _GPU_FREQ.match(text):
        raise Invalid("Invalid --gpu-freq argument: gpu:%s" % text)
    return text


_MEM_BIND = re.compile(r"((nosort|sort|quiet|q|verbose|v|none|no|rank|local|prefer|p|(map_mem|mask_mem):[0-9a-fx,*]+),?)+$", re.I)


def mem_bind(text):
    """--mem-bind, kept as typed. Raises Invalid."""
    if not _MEM_BIND.match(text):
        raise Invalid('unrecognized --mem-bind argument "%s"' % text)
    return text


def acctg_freq(text):
    """--acctg-freq, kept as typed. Raises Invalid."""
    for part in text.split(","):
        if part and not re.match(r"[ \t]*\+?[0-9]|(task|energy|network|filesystem)=[0-9]", part, re.I):
            raise Invalid("Invalid --acctg-freq specification: %s" % text)
    return text
