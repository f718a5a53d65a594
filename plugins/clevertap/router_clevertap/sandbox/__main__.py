"""`python -m router_clevertap.sandbox`: the command without the rest of the router."""

from router_clevertap.sandbox.command import app

app(prog_name="python -m router_clevertap.sandbox")
