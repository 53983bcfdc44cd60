"""The preference race: users change choices while messages to them are processed.

It runs on real stores, and checks every provider call and every suppressed message against the acknowledged choices. Modules:
`schedule` (the events of a seed), `steps` (a message's way through router and worker), `faults` (of Redis), `invariants`,
`runner` (many seeds concurrently), `engine_race` (the delivery engine while its provider is held up; stops begin as in `beginnings`),
`pipeline` (real workers). ``python -m devtools.race --help`` runs it.
"""
