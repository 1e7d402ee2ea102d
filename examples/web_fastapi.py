"""A FastAPI application that logs its requests, with the user that a dependency finds, and its logins.

Run it, then: curl -H 'X-User: u1' http://127.0.0.1:8000/orders/17
Events go to standard output; METLOG_SENDER=udp://127.0.0.1:5565 sends them to a listener.
"""

from __future__ import annotations

import os
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Body, Depends, FastAPI, Header, HTTPException

import metlog
from metlog.integrations.asgi import MetlogMiddleware
from metlog.integrations.login import login_failure, login_success

metlog.configure(os.environ.get("METLOG_SENDER", "stdout:"), logger="shop")

app = FastAPI()
app.add_middleware(MetlogMiddleware)  # the one line


def signed_in(x_user: Annotated[str, Header()]) -> str:
    """A dependency that is no coroutine: FastAPI runs it in a thread, and the field reaches the request's event all the same."""
    metlog.context(user=x_user)
    return x_user


orders = APIRouter(prefix="/orders")


@orders.get("/{number}")
def order(number: int, user: Annotated[str, Depends(signed_in)], later: BackgroundTasks) -> dict[str, object]:
    """One order. What runs after the response is not in the request's time."""
    later.add_task(metlog.log, ("order", "shown"), fields={"order": number})
    return {"order": number, "user": user}


@app.post("/login")
async def login(user: Annotated[str, Body()], password: Annotated[str, Body()]) -> dict[str, str]:
    """Events of type `login`, for the report of logins by day. The password is in the body: an address stands in every access log."""
    if password != "secret":
        login_failure(user, reason="password")
        raise HTTPException(401)
    login_success(user)
    return {"user": user}


app.include_router(orders)

if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
