"""Preferences: categories, choices, and the checks that apply them.

Pure: `categories`, `choices`, `row_codec`, `row_cache`, `explanation`, `staleness_bound` (the proof of the bound). Stores: `repository`
(MongoDB), `deltas` (Redis), `lease_renewal`. Checks: `decision_check` when a trigger is decided, `provider_check` before the provider
call. Changes enter through `writer`.
"""
