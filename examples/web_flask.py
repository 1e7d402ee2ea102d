"""A Flask application that logs its requests and its logins. Run it, then: curl http://127.0.0.1:8000/orders/17

Events go to standard output; METLOG_SENDER=udp://127.0.0.1:5565 sends them to a listener.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from flask import Blueprint, Flask, Response, abort, request

import metlog
from metlog.integrations.login import login_failure, login_success
from metlog.integrations.wsgi import MetlogMiddleware

metlog.configure(os.environ.get("METLOG_SENDER", "stdout:"), logger="shop")

app = Flask(__name__)
app.wsgi_app = MetlogMiddleware(app.wsgi_app)  # type: ignore[method-assign] # the one line, as Flask's documentation has it

orders = Blueprint("orders", __name__, url_prefix="/orders")


@orders.get("/<int:number>")
def order(number: int) -> dict[str, int]:
    """One order."""
    metlog.context(user="u1")  # on the request's own event, and on all that is logged below
    return {"order": number}


@orders.get("/export")
def export() -> Response:
    """All orders, in pieces: the request's time ends with the last of them."""

    def pieces() -> Iterator[str]:
        for number in range(3):
            yield f"{number}\n"

    return Response(pieces(), mimetype="text/plain")


@app.get("/broken")
def broken() -> str:
    """Fails: Flask answers with status 500, and the event has severity 3."""
    raise LookupError("no such thing")


@app.post("/login")
def login() -> dict[str, str]:
    """Events of type `login`, for the report of logins by day."""
    user = request.form["user"]
    if request.form["password"] != "secret":
        login_failure(user, reason="password")
        abort(401)
    login_success(user)
    return {"user": user}


app.register_blueprint(orders)

if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "8000")))
