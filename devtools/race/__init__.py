"""The race: choices at random instants around messages at every stage, on real stores, judged against what was acknowledged.

`plan` (what a seed does), `stages` (how a message passes router and worker), `faults` (what happens to Redis meanwhile), `verdict` (what
must hold), `drill` (many seeds at once). ``python -m devtools.race --help`` runs it.
"""
