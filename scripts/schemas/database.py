"""The database of $DATABASE, a libpq URL with a socket's folder as `host`, as Django writes it."""

import os
from urllib.parse import parse_qs, urlsplit


def parts():
    url = urlsplit(os.environ["DATABASE"])
    asked = {key: values[0] for key, values in parse_qs(url.query).items()}
    return {
        "NAME": url.path.lstrip("/"),
        "HOST": asked["host"],
        "PORT": asked["port"],
        "USER": asked["user"],
    }


def django():
    return {"default": {"ENGINE": "django.db.backends.postgresql", **parts()}}
