"""Preferences: categories, users' choices, and the checks that apply a choice within one second.

Pure: `categories`, `choices`, `row_codec`, `row_cache`, `explanation`, `staleness_bound` (the proof of the bound). Stores: `repository`
(MongoDB), `deltas` (Redis), `lease_renewal`. Checks: `decision_check` when a trigger is decided, `provider_check` before the provider
call. Changes enter through `writer`.
"""
