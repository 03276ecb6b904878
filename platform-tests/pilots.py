#!/usr/bin/env python3
"""What the recorded readings of a folder come to, computed without any of Tawi's code.

    pilots.py DIR THRESHOLD     prints one JSON object

DIR holds DEVICE-SENSOR.csv files as exported: blank lines, repeated headers, quoted numbers.
"""
import csv
import glob
import json
import os
import sys


def readings(path):
    with open(path, newline="") as file:
        for row in csv.reader(file):
            if len(row) == 3 and row[1] != "timestamp":
                yield row[1], float(row[2])


def main(folder, threshold):
    alerts, days, sensors = {}, {}, {}
    for path in sorted(glob.glob(os.path.join(folder, "*.csv"))):
        sensor = os.path.basename(path)[: -len(".csv")].replace("-", "/")
        for measured, value in readings(path):
            sensors[sensor] = sensors.get(sensor, 0) + 1
            alerts[sensor] = alerts.get(sensor, 0) + (value > threshold)
            # The times are in UTC, so the day is the text before the T.
            day = days.setdefault(f"{sensor}/{measured.split('T')[0]}", {"count": 0, "sum": 0.0})
            day["count"] += 1
            day["sum"] += value
    for day in days.values():
        day["mean"] = day["sum"] / day["count"]
    print(json.dumps({"alerts": alerts, "days": days, "sensors": sensors}))


main(sys.argv[1], float(sys.argv[2]))
