"""squeue --json: laid out as Slurm 22.05.8 wrote it."""

from __future__ import annotations

import json

from slurm_compat import jsonout
from slurm_compat.show.scene import Scene
from tests.compat.cluster import CONFIG, ENV, NOW, busy

HEAD = """\
{
  "meta": {
    "plugin": {
      "type": "openapi\\/v0.0.38",
      "name": "Slurm OpenAPI v0.0.38"
    },
    "Slurm": {
      "version": {
        "major": 22,
        "micro": 8,
        "minor": 5
      },
      "release": "22.05.8"
    }
  },
  "errors": [
  ],
  "jobs": [
    {
      "account": "lab",
"""


def test_the_layout_is_the_real_ones():
    view = busy()
    said = jsonout.squeue(Scene(view, CONFIG, dict(ENV), NOW, version="22.05.8"), view.jobs.values())
    assert said.startswith(HEAD)
    assert {job["job_id"] for job in json.loads(said)["jobs"]} == set(view.jobs)


def test_empty_lists_and_slashes():
    document = {"a": [], "b": {"c": [], "d": "x[]"}, "e": ["/"], "f": {}}
    said = jsonout.text(document)
    assert said == '{\n  "a": [\n  ],\n  "b": {\n    "c": [\n    ],\n    "d": "x[]"\n  },\n  "e": [\n    "\\/"\n  ],\n  "f": {\n  }\n}\n'
    assert json.loads(said) == document
