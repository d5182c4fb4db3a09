"""Files: a folder here and its replica on a node, as if the file system were shared. This page is the contract with the broker.

Two workers, each a process that an agent forked and that became the user, speak to each other over one byte pipe (the broker joins their two
channels of kind "files" and looks at nothing but `watch.Watch`). One is told that it is the "submit" side, the other the "node" side.

    place.prepare(options, user)   still as root, before becoming the user (a node only; harmless elsewhere): makes options["state"] and, where it
                                   may, the folders of the roots. `user`: the run's user object. Raises OSError
    worker.run(sock, options)      as the user, blocking; `sock`: a connected stream socket, closed at the end. Never raises; returns the outcome,
                                   which is also the last frame that it wrote. May be run again at any time, after any crash or cut, with
                                   the same options: it does what is left to do
    worker.alone(options)          "wipe" has no other side: the same, without a socket

Options, JSON. The same at both ends but for what is marked; paths are str with surrogateescape:

    side       "submit" | "node"                                                                     (differs)
    state      folder of this owner's on this side: FILES/OWNER, FILES = BASE/STORE/files            (differs; the agent fills it in)
    home       the user's home folder there                                                          (differs; the agent fills it in)
    do         "in"   the submit side's changes to the node: before Start
               "out"  the node's changes to the submit side: after the node is empty, `sbroker sync`, and before an sbatch inside a job
               "wipe" (node, worker.alone) everything of this owner's goes: replicas, environments, state
    job, node  names: said in conflicts, and part of the name that a version gets that is put beside
    busy       a job runs on this node in one of these roots (other than the one that is staged now): "in" then leaves alone what both sides changed
    roots      [{"path": absolute path on the submit host,
                 "what": "tree" (default) | "env" (a virtual or conda environment: "in" only),
                 "stage": what `ignore.parse_stage` made of `#SBROKER stage=`, or absent,
                 "exclude": [absolute paths on the submit host: files that are streamed live, spools]}, ...]    in this order
    limit      {"bytes": n or null, "files": n or null}: of what would have to move for one root, either way; absent: no limit
    compress   true (default): zlib where the pipe is slower than we are; false: never

Outcome, JSON, the same at both ends unless the pipe broke:

    {"op": "done", "error": "" | sentence for the user, "again": true if the same may work later (the pipe broke, disk full, …), else false,
     "final": true if nothing that anybody mends makes it work (out: more than `limit`, the replica is gone), else false,
     "bytes": content moved, "files": entries changed on the receiving side, "removed": entries deleted there,
     "roots": [{"path", "at": its path on the node, "bytes", "files", "removed"}, ...],       at == path unless it was not ours to make
     "conflicts": [{"path": absolute on the submit host, "beside": name of the version put beside it or null, "text": sentence}, ...],
     "skipped": [{"path", "text": sentence: unreadable, a socket, changed all the time …}, ...]    at most 100 each; "more": how many were left out,
     "notes": [sentence, ...],
     "env": {"VIRTUAL_ENV": path on the node, "PATH": [[from, to], ...], ...}: what the job's environment needs if an environment was moved}

An error says that nothing more was done, not that nothing was: what has arrived stays, what is there twice is not overwritten. Conflicts and
skipped files are no errors. A refusal because of `limit` is an error with again = false, and nothing has moved.

What moves:

    | file                                             | in                  | out                |
    | ------------------------------------------------ | ------------------- | ------------------ |
    | anything else, .git too                          | yes                 | if new or changed  |
    | matched by .gitignore                            | no (a)              | if new or changed  |
    | matched by .sbrokerignore (same syntax)          | no (b)              | no (b)             |
    | `stage=PATTERN`                                  | yes                 | if new or changed  |
    | `stage=!PATTERN`                                 | no                  | no                 |
    | `stage=none`: not named by a PATTERN             | no                  | if new or changed  |
    | `stage=all`: matched by either ignore file       | yes                 | if new or changed  |
    | __pycache__, *.pyc                               | no (b)              | no (b)             |
    | a virtual environment that a job made there      | -                   | no                 |
    | `exclude`                                        | no                  | no                 |
    | NAME.sbroker-NODE-JOB (put beside at a conflict) | no                  | if new or changed  |
    | sockets, fifos, devices                          | no, and said        | no, and said       |

    (a) but yes if a job brought it out before: the next job of a chain finds the checkpoint that .gitignore names
    (b) unless `stage=PATTERN` names it

Between the workers: link frames (agent/wire.py), body at most 256 KiB, one side speaking at a time: transfer.py. Nobody else needs to know them;
`watch.Watch().feed(bytes)` gives a relaying broker {"op": "moving", "bytes", "files"} (what is about to move for one root), the running
total `moved`, and the "done" outcome, without copying bodies. A worker whose other side is gone says so in its outcome ("again": true).

State, all of it the owner's own, below `state`: .sbroker/roots/KEY/ (base: what both sides last agreed on; index: hashes by stat; lock),
.sbroker/store/ (content that has arrived and is not in place yet, bounded), and PATH: the replica of PATH where the same path could not be had.
"""
