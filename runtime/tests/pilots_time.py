#!/usr/bin/env python3
"""What windows, silences, thresholds and filled gaps of recorded readings come to, computed without any of Tawi's code.

    pilots_time.py DIR          prints one JSON object, by sensor

DIR holds DEVICE-SENSOR.csv files as exported: blank lines, repeated headers, quoted numbers, in the order of their receive times.
All times are microseconds since 1970.
"""
import csv
import glob
import json
import os
import sys
from datetime import datetime, timezone

SECOND = 1_000_000
HOUR = 3_600 * SECOND
AHEAD = 300 * SECOND  # a clock further ahead of ours is not believed
SILENT = 6 * HOUR
GAP = HOUR  # between two sessions
ABOVE, HYSTERESIS = 30.0, 0.5
EVERY, MAX_GAP = 60 * SECOND, 12 * HOUR  # of gaps that are filled


def micros(text):
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return round((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds() * 1000) * 1000


def readings(path):
    with open(path, newline="") as file:
        for row in csv.reader(file):
            if len(row) == 3 and row[1] != "timestamp":
                received, measured = micros(row[0]), micros(row[1])
                yield received, (received if measured > received + AHEAD else measured), float(row[2])


def windows(rows, length):
    found = {}
    for _, time, value in rows:
        found.setdefault(time // length * length, []).append(value)
    return {str(start): summary(values) for start, values in found.items()}


def summary(values):
    ordered = sorted(values)
    at = 0.95 * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    p95 = ordered[low] + (ordered[high] - ordered[low]) * (at - low)
    return {"count": len(values), "sum": sum(values), "mean": sum(values) / len(values), "min": min(values), "max": max(values), "p95": p95}


def sessions(rows):
    times = sorted(time for _, time, _ in rows)
    found = []
    for time in times:
        if found and time - found[-1][1] < GAP:
            found[-1][1] = time
            found[-1][2] += 1
        else:
            found.append([time, time, 1])
    return [[start, count] for start, _, count in found]


def silences(rows):
    """The receive times before each silence; the last one lasts."""
    received = [row[0] for row in rows]
    return [one for one, other in zip(received, received[1:]) if other - one >= SILENT] + received[-1:]


def crossings(rows):
    """Each change of side, in the order in which readings came."""
    beyond, found = False, []
    for index, (_, _, value) in enumerate(rows):
        if not beyond and value > ABOVE or beyond and value <= ABOVE - HYSTERESIS:
            beyond = not beyond
            found.append([index, beyond])
    return found


def filled(rows, method):
    """The series without its gaps: [when, value, whether it was made up]. Late readings pass; what was made up stays."""
    found, before = [], []
    for _, time, value in rows:
        last = before[-1][0] if before else None
        if last is not None and time <= last:
            found.append([time, value, False])
            continue
        if last is not None and time - last > MAX_GAP:
            before = []
        elif last is not None:
            # As many as readings are missing: to the nearest.
            for nth in range(1, (2 * (time - last) + EVERY) // (2 * EVERY)):
                found.append([last + nth * EVERY, guess(method, before, (time, value), last + nth * EVERY), True])
        found.append([time, value, False])
        before = (before + [(time, value)])[-8:]
    return found


def guess(method, before, after, at):
    last, value = before[-1]
    if method == "hold":
        return value
    if method == "linear":
        return value + (after[1] - value) * ((at - last) / (after[0] - last))
    times, values = [time - last for time, _ in before], [value for _, value in before]
    mid, mean = sum(times) / len(times), sum(values) / len(values)
    width = sum((time - mid) ** 2 for time in times)
    slope = sum((time - mid) * (value - mean) for time, value in zip(times, values)) / width if width else 0.0
    return mean + slope * (at - last - mid)


def main(folder):
    sensors = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.csv"))):
        rows = list(readings(path))
        sensors[os.path.basename(path)[: -len(".csv")]] = {
            "hours": windows(rows, HOUR),
            "days": windows(rows, 24 * HOUR),
            "sessions": sessions(rows),
            "silences": silences(rows),
            "crossings": crossings(rows),
            "filled": {method: filled(rows, method) for method in ("hold", "linear", "trend")},
        }
    print(json.dumps(sensors))


main(sys.argv[1])
