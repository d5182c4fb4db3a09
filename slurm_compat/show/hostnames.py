"""`scontrol show hostnames|hostlist|hostlistsorted`: host lists alone, so it needs no broker and runs in the thin client too.

Standard library, Python 3.6.
"""

from ..hostlist import HostlistError, compress, compress_sorted, expand

ENTITIES = {"hostnames": 5, "hostlistsorted": 9, "hostlist": 5}  # how many letters name it for sure, in the order in which they are tried
FLAGS = (
    "-a",
    "-d",
    "-F",
    "-o",
    "-Q",
    "-v",
    "--all",
    "--details",
    "--federation",
    "--future",
    "--hide",
    "--local",
    "--oneliner",
    "--quiet",
    "--sibling",
    "--verbose",
)


def entity_of(word):
    """The entity that `word` names or abbreviates, or None."""
    low = word.lower()
    for name, least in ENTITIES.items():
        if len(low) >= least and name.startswith(low):
            return name
    return None


def run(argv, env, read=None):
    """scontrol's argv (without argv[0]) → (out, err, code), or None when this is no such command, or one that needs more than host lists.

    `read` gives the text of a file (`show hostlist /path`); an OSError of it is told as scontrol does.
    """
    words = [word for word in argv if word not in FLAGS and word != "--"]
    if len(words) < 2 or "show"[: len(words[0])] != words[0].lower() or len(words[0]) < 3:
        return None
    name, equals, value = words[1].partition("=")
    entity = entity_of(name)
    if entity is None or any(word.startswith("-") for word in words):
        return None
    given = words[2:]
    if equals:
        given = [value] + given
    if len(given) > 1:
        return "", f"too many arguments for keyword:{words[0]}\n", 1
    return show(entity, given[0] if given else None, env, read)


def show(entity, text, env, read=None):
    """`text` None: not given. Returns (out, err, code); None where the command's help has to be printed."""
    if entity == "hostnames":
        if text is None:
            text = env.get("SLURM_NODELIST")
            if text is None:
                return "", "scontrol: error: host list is empty\n", 0
        try:
            names = expand(text)
        except HostlistError as error:
            return "", complaint(error), 0
        return "".join(name + "\n" for name in names), "", 0
    if text is None:
        return None
    if text.startswith("/"):
        try:
            text = (read or _read)(text)
        except OSError:
            return "", f"Can not open {text}\n", 1
    try:
        names = expand(text)
    except HostlistError as error:
        return "", complaint(error), 1
    return (compress(names) if entity == "hostlist" else compress_sorted(names)) + "\n", "", 0


def complaint(error):
    """What scontrol says of a HostlistError."""
    detail = f"scontrol: error: _parse_single_range: {error.detail}\n" if error.detail else ""
    return f"{detail}{error}\n"


def _read(path):
    with open(path) as file:
        return file.read()
