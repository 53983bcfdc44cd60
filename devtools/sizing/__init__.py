"""How large a region must be, calculated from measured figures.

In: `docs/measurements/*.json` (measured), `assumptions.yaml` (stated), `prices.yaml` (examples to replace), the lengths of records by the
code's own encoders. Out: `docs/sizing.md`, and `k8s/components/size-100m`.
"""
