"""The routes, for pages and for the cluster. `uvicorn --factory chat.app:create` serves them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import httpx2
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from .chat import ROOMS, Chat, Text
from .cluster import Cluster, ClusterError
from .login import Accounts, Tokens
from .settings import Settings
from .webhooks import Answer, Connect, Disconnected, Event, Kind, signed_body

PAGE = Path(__file__).parent.parent / "page"

routes = APIRouter()


@dataclass
class Services:
    """The parts of the backend that the routes use."""

    settings: Settings
    accounts: Accounts
    tokens: Tokens
    cluster: Cluster
    chat: Chat


def services(request: Request) -> Services:
    """Return the parts of the running backend."""
    return cast("Services", request.app.state.services)


Here = Annotated[Services, Depends(services)]


async def webhook_body(request: Request, here: Here) -> bytes:
    """Return the body of a webhook, if its signature is valid."""
    return await signed_body(request, here.settings.webhook_secret)


@routes.post("/socketio", response_model_exclude_defaults=True)
async def webhook(
    body: Annotated[bytes, Depends(webhook_body)],
    ce_type: Annotated[Kind, Header()],
    webhook_id: Annotated[str, Header()],
    here: Here,
) -> Answer:
    """Answer a webhook of the cluster."""
    match ce_type:
        case "io.sociable.connect":
            return here.chat.connect(Connect.model_validate_json(body))
        case "io.sociable.event":
            return here.chat.event(Event.model_validate_json(body), webhook_id)
        case "io.sociable.disconnected":
            return here.chat.disconnected(Disconnected.model_validate_json(body))


class Login(BaseModel):
    """The name and the password of an account."""

    name: str
    password: str


class Session(BaseModel):
    """What a page needs to connect."""

    token: str
    url: str


@routes.post("/login")
def login(login: Login, here: Here) -> Session:
    """Exchange a name and a password for a token."""
    if not here.accounts.accept(login.name, login.password):
        raise HTTPException(401, "wrong name or password")
    return Session(token=here.tokens.issue(login.name), url=here.settings.socket_url)


@routes.get("/rooms")
async def rooms(here: Here) -> dict[str, int]:
    """Return the rooms, each with the number of its clients in the whole cluster."""
    people = await here.cluster.people()
    return {room: people.get(room, 0) for room in ROOMS}


def user(bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())], here: Here) -> str:
    """Return the name of the account that sent a request."""
    name = here.tokens.name(bearer.credentials)
    if name is None:
        raise HTTPException(401, "log in first")
    return name


class Announcement(BaseModel):
    """A text for everyone in the chat."""

    text: Text


@routes.post("/announcements", status_code=204)
async def announce(announcement: Announcement, name: Annotated[str, Depends(user)], here: Here) -> None:
    """Send a text to everyone in the chat, in whatever room."""
    await here.cluster.emit("announced", name, announcement.text)


@routes.get("/healthz")
async def health() -> str:
    """Return that the backend runs."""
    return "ok"


async def cluster_failed(_: Request, error: Exception) -> JSONResponse:
    """Return that the cluster failed."""
    return JSONResponse({"detail": f"the cluster did not answer: {error}"}, 502)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Close the connections to the cluster at the end."""
    yield
    await app.state.services.cluster.close()


def create(settings: Settings | None = None, transport: httpx2.AsyncBaseTransport | None = None) -> FastAPI:
    """Return the application. Tests replace the way to the cluster by `transport`."""
    settings = settings or Settings()
    tokens = Tokens(settings.session_secret)
    cluster = Cluster(settings.api_url, settings.api_key, transport)
    app = FastAPI(title="Chat", lifespan=lifespan, exception_handlers={ClusterError: cluster_failed})
    app.state.services = Services(settings, Accounts(settings.accounts), tokens, cluster, Chat(tokens))
    app.include_router(routes)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app
