"""Prints the verdict of a drill and its causes, and compares them with what is expected.

    verdict.py NAME EXPECTED EXIT_CODE JSON_FILE JUNIT_FILE

EXPECTED is PASS, or the code of the only cause.
"""

import json
import sys
import xml.etree.ElementTree

name, expected, code, json_file, junit_file = sys.argv[1:]
with open(json_file) as file:
    report = json.load(file)
changes = [event["change"] for event in report["events"]]
print(f"{report['verdict']}  {report['requests']} requests, {report['lost']} lost, {len(changes)} events")
for cause in report["causes"]:
    print(f"  {cause['code']}: {cause['text']}")

passes = expected == "PASS"
assert report["verdict"] == ("PASS" if passes else "FAIL"), report["why"]
assert code == ("0" if passes else "1"), code
assert [cause["code"] for cause in report["causes"]] == ([] if passes else [expected]), report["causes"]
assert len(changes) >= 2 and report["requests"] == 160, changes
assert report["latency_over_time"]["buckets"]

suites = xml.etree.ElementTree.parse(junit_file).getroot()
cases = suites.findall("./testsuite/testcase")
failed = [case.get("name") for case in cases if case.find("failure") is not None]
assert len(cases) == int(suites.get("tests")) == len(report["checks"]) and len(failed) == int(suites.get("failures"))
assert failed == [check["name"] for check in report["checks"] if not check["ok"]]
assert bool(failed) != passes, failed
assert sum(case.get("name").endswith("is survived") for case in cases) == len(changes)
