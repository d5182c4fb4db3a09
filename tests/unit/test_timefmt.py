"""Durations and dates against what Slurm printed on Tuesday 2026-11-24 at 11:03:41 UTC."""

import calendar

import pytest

from slurm_compat.timefmt import Times, duration, full_duration, limit


def at(*parts: int) -> float:
    return calendar.timegm((*parts, 0, 0, 0))


NOW = at(2026, 11, 24, 11, 3, 41)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (5.9, "0:05"),
        (300, "5:00"),
        (3600, "1:00:00"),
        (86399, "23:59:59"),
        (93840, "1-02:04:00"),
        (172800, "2-00:00:00"),
        (-1, "INVALID"),
        (365 * 86400, "365-00:00:00"),
        (365 * 86400 + 1, "INVALID"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00:00"), (3661, "01:01:01"), (31536000, "365-00:00:00"), (-1, "INVALID")])
def test_full_duration(seconds, text):
    assert full_duration(seconds) == text


def test_limit():
    assert [limit(None), limit(-1), limit(300), limit(-1, infinite="infinite")] == ["NOT_SET", "UNLIMITED", "5:00", "infinite"]


@pytest.mark.parametrize(
    ("when", "relative"),
    [
        (NOW, "11:03:41"),
        (at(2026, 11, 25, 11, 3, 41), "Tomorr 11:03"),
        (at(2026, 11, 23, 23, 59, 0), "Ystday 23:59"),
        (at(2026, 11, 26, 11, 3, 41), "Thu 11:03"),
        (at(2026, 11, 30, 11, 3, 41), "Mon 11:03"),
        (at(2026, 12, 1, 11, 3, 41), "1 Dec 11:03"),
        (at(2026, 12, 24, 11, 3, 41), "24 Dec 11:03"),
        (at(2027, 1, 23, 11, 3, 41), "23 Jan 2027"),
        (at(2028, 5, 6, 7, 8, 9), "6 May 2028"),
    ],
)
def test_relative(when, relative):
    assert Times({"TZ": "UTC", "SLURM_TIME_FORMAT": "relative"}, NOW).at(when) == relative


def test_forms_and_zones():
    assert Times({"TZ": "UTC"}, NOW).at(NOW) == "2026-11-24T11:03:41"
    assert Times({"TZ": "UTC", "SLURM_TIME_FORMAT": "standard"}, NOW).at(NOW) == "2026-11-24T11:03:41"
    assert Times({"TZ": "UTC", "SLURM_TIME_FORMAT": "%a %T"}, NOW).at(NOW) == "Tue 11:03:41"
    assert Times({"TZ": "UTC", "SLURM_TIME_FORMAT": "%s"}, NOW).at(NOW) == str(int(NOW))
    assert Times({"TZ": "America/New_York"}, NOW).at(NOW) == "2026-11-24T06:03:41"
    assert Times({"TZ": "No/Such"}, NOW).at(NOW) == "2026-11-24T11:03:41"
    assert Times({"TZ": "UTC"}, NOW).at(None) == "N/A"
    assert Times({"TZ": "UTC"}, NOW).ctime() == "Tue Nov 24 11:03:41 2026"
