"""The Grafana dashboards, as code: `make generate` writes from it what the chart delivers (files/dashboards).

It lies beside the chart, not in it: whoever packages the chart packages JSON alone. It is no part of the controller, whose
image needs nothing of Grafana. What the panels ask for is what the recording rules and the metrics' tables name; the tests
of the chart, tests/contract and tests/monitoring hold every query against those.
"""
