"""Reads health files by the rules that the Python services have for them, and nothing else.

usage: read_health.py DIRECTORY

Prints one JSON object: for each file its name without ending and what a reader makes of it:
`{"core": {"status": "healthy", "restarts": 0, "errors": 0, "stopped": false}}`. The status is one of
the file's own (healthy, warning, error, fatal, unknown), `stale` when the file is older than 120 s,
or `broken: why`.
"""

import json
import pathlib
import sys
from datetime import datetime

STATUSES = {"healthy", "warning", "error", "fatal", "unknown"}
STALE_AFTER = 120.0
MOST_CHECKS = 50
FIELDS = {
    "service_name": str,
    "overall_status": str,
    "checks": list,
    "last_updated": str,
    "last_check": str,
    "uptime": (int, float),
    "restart_count": int,
    "error_count": int,
    "messages_sent": int,
    "messages_received": int,
}
CHECK_FIELDS = {"name": str, "status": str, "message": str, "timestamp": str, "metadata": dict}


def local_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is not None:
        raise ValueError(f"{text} has a zone")
    return time


def demand(thing: dict, fields: dict) -> None:
    if set(thing) != set(fields):
        raise ValueError(f"fields differ: {sorted(set(thing) ^ set(fields))}")
    for name, kind in fields.items():
        if not isinstance(thing[name], kind) or isinstance(thing[name], bool):
            raise ValueError(f"{name} is {thing[name]!r}")


def read(path: pathlib.Path) -> dict:
    health = json.loads(path.read_text(encoding="utf-8"))
    demand(health, FIELDS)
    times = []
    for check in health["checks"]:
        demand(check, CHECK_FIELDS)
        times.append(local_time(check["timestamp"]))
    if times != sorted(times) or len(times) > MOST_CHECKS:
        raise ValueError("the checks are not the newest ones in order")
    if not {health["overall_status"], *(check["status"] for check in health["checks"])} <= STATUSES:
        raise ValueError("there is no such status")
    if local_time(health["last_check"]) > local_time(health["last_updated"]):
        raise ValueError("the last check comes after the file")
    age = (datetime.now() - local_time(health["last_updated"])).total_seconds()
    stopped = any(
        check["name"] == "lifecycle" and check["message"] == "stopped" for check in health["checks"]
    )
    return {
        "status": "stale" if age > STALE_AFTER else health["overall_status"],
        "restarts": health["restart_count"],
        "errors": health["error_count"],
        "stopped": stopped,
    }


def judged(path: pathlib.Path) -> dict:
    try:
        return read(path)
    except (ValueError, OSError) as error:
        return {"status": f"broken: {error}"}


files = sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
print(json.dumps({path.stem: judged(path) for path in files}))
