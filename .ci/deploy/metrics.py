#!/usr/bin/env python3
"""The Prometheus rules and the Grafana dashboard agree with docs/operations.md.

- Every metric and every label that they use is in the table of metrics there.
- Every alert links to a row of the symptom index, and rules_test.yaml has a moment when it fires and one when it does not.
- Prometheus accepts every expression of the dashboard. Nothing in the dashboard names an instance or a data source.
"""

import json
import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
WORK = ROOT / "target" / "deploy"
METRIC = r"\b(?:jwe_gateway|process)_[a-z0-9_]+\b"
# Labels that Prometheus adds, and the bound of a histogram's bucket.
OWN_LABELS = {"job", "instance", "le"}

findings = []


def main():
    operations = (ROOT / "docs" / "operations.md").read_text()
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())
    rules = [rule for group in rules["groups"] for rule in group["rules"]]
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    expressions = {f"dashboard: {name}": expression for name, expression in expressions_of(dashboard)}
    check_names(documented(operations), expressions | {f"rules: {name_of(rule)}": rule["expr"] for rule in rules})
    check_alerts([rule for rule in rules if "alert" in rule], operations)
    check_dashboard(dashboard, expressions)
    for finding in findings:
        print(finding)
    print(f"{len(rules)} rules and {len(expressions)} expressions of the dashboard: {len(findings)} findings")
    return 1 if findings else 0


def documented(operations):
    """Type and labels of each metric. A row can name several metrics."""
    section = operations.split("\n## Metrics\n", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in section.splitlines() if row.startswith("| `")]
    metrics = {}
    for names, kind, labels, *_ in rows:
        for name in re.findall(r"`(\w+)`", names):
            metrics[name] = (kind, set(re.findall(r"`(\w+)`", labels)))
    # The metrics of the export of spans have a table of their own. They have no labels.
    for name, kind in re.findall(r"^\| `(jwe_gateway_trace_\w+)` \| (\w+) \|", operations, re.MULTILINE):
        metrics[name] = (kind, set())
    return metrics


def name_of(rule):
    return rule.get("alert") or rule["record"]


def check_names(metrics, expressions):
    for histogram in [name for name, (kind, _) in metrics.items() if kind == "histogram"]:
        metrics |= {f"{histogram}_{part}": metrics[histogram] for part in ("bucket", "sum", "count")}
    unknown = {}
    for where, expression in expressions.items():
        used = set(re.findall(METRIC + r"(?!:)", expression))
        for name in used - metrics.keys():
            unknown.setdefault(f"{name} is not in the table of metrics", []).append(where)
        allowed = OWN_LABELS.union(*(metrics[name][1] for name in used & metrics.keys()))
        matchers = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
        groups = re.findall(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)", expression)
        if used <= metrics.keys() and used:
            for label in {*matchers, *(label.strip() for group in groups for label in group.split(","))} - allowed:
                unknown.setdefault(f"no metric of the expression has the label {label}", []).append(where)
    findings.extend(f"{finding}: {', '.join(places)}" for finding, places in sorted(unknown.items()))


def check_alerts(alerts, operations):
    tests = yaml.safe_load((DEPLOY / "prometheus" / "rules_test.yaml").read_text())["tests"]
    index = operations.split("\n## Symptom, cause, remedy\n", 1)[1]
    moments = [moment for test in tests for moment in test["alert_rule_test"]]
    for alert in alerts:
        name, annotations = alert["alert"], alert["annotations"]
        if alert["labels"].get("severity") not in ("critical", "warning"):
            findings.append(f"{name}: severity")
        if not all(annotations.get(key) for key in ("summary", "description", "runbook_url")):
            findings.append(f"{name}: summary, description and runbook_url are needed")
        document, _, anchor = annotations["runbook_url"].partition("#")
        if document != "docs/operations.md" or f'| <a id="{anchor}"></a>' not in index:
            findings.append(f"{name}: the symptom index has no row with the anchor {anchor}")
        fires = {bool(moment["exp_alerts"]) for moment in moments if moment["alertname"] == name}
        if fires != {True, False}:
            findings.append(f"{name}: rules_test.yaml needs a moment when it fires and one when it does not")


def expressions_of(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", re.match(r"label_values\((.*), \w+\)", variable["definition"]).group(1)


def check_dashboard(dashboard, expressions):
    if dashboard["uid"] != "jwe-gateway" or "id" in dashboard:
        findings.append("dashboard: the uid is fixed, and there is no id")
    sources = {str(part.get("datasource", {}).get("uid")) for part in walk(dashboard) if "datasource" in part}
    if sources != {"${datasource}"}:
        findings.append(f"dashboard: data sources {sources}")
    if not {"datasource", "upstream", "instance"} <= {one["name"] for one in dashboard["templating"]["list"]}:
        findings.append("dashboard: a variable is missing")
    rules = []
    for number, (where, expression) in enumerate(expressions.items()):
        if re.search(r"\d+\.\d+\.\d+\.\d+|localhost|:\d{4}", expression):
            findings.append(f"{where}: it names an instance")
        if where.split(": ")[1].startswith("variable") is False and '$' not in expression:
            findings.append(f"{where}: it does not use the variables")
        filled = re.sub(r"\$(?!__)\w+", ".*", expression.replace("$__rate_interval", "5m"))
        rules.append({"record": f"dashboard:{number}", "expr": filled})
    path = WORK / "dashboard-rules.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    if checked.returncode:
        findings.append(f"dashboard: {checked.stderr}")
    if len({panel["id"] for panel in dashboard["panels"]}) != len(dashboard["panels"]):
        findings.append("dashboard: two panels have the same id")


def walk(node):
    if isinstance(node, dict):
        yield node
        node = node.values()
    if not isinstance(node, str) and hasattr(node, "__iter__"):
        for child in node:
            yield from walk(child)


if __name__ == "__main__":
    sys.exit(main())
