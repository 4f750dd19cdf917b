"""The application as a server imports it."""

import multiprocessing

from app.core.config import load_settings
from app.core.logging import configure_logging
from app.core.parent import end_with_parent
from app.factory import create_app

if multiprocessing.parent_process() is not None:
    # One of several web processes: its parent holds the port, so without it there is nothing to serve.
    end_with_parent()

settings = load_settings()
configure_logging(settings)
app = create_app(settings)
