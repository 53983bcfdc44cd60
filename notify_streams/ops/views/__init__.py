"""The Faust web views of every worker."""

from faust import web

blueprint = web.Blueprint("notify")
