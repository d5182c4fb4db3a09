#!/bin/bash
s=$(sacct -j "$1" --format State --noheader | head -1 | awk '{print $1}')
case $s in COMPLETED) echo success;; RUNNING|PENDING|COMPLETING|"") echo running;; *) echo failed;; esac
