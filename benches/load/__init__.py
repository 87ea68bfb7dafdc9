"""Measures the gateway against nginx and other gateways, in one run on this machine. Entry: scripts/bench.

`cli` reads the options and runs `parts`, each of which gives `report.rows.Row`s; `report` makes tables, a document and plots
of them. Everything runs on loopback, against the gateway's own stub provider, in temporary folders. Python's standard
library is all it needs, besides nginx and wrk.
"""
