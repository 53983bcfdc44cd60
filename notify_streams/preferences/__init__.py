"""What a category allows, what a person chose, and how a choice reaches every place that sends, within one second.

Pure centre: `policy` (categories), `choices` (the latest wins), `compiled` (a person's choices as a few bytes), `cache`, `bound` (why the
promise holds). I/O rim: `durable` (MongoDB), `deltas` (Redis), `keeper` (when Redis may be trusted), `decision_check` and `provider_check`
(the two checks), `writing` (how a choice gets in), `views`.
"""
