"""The ticket shop, by its own settings."""

import os

import database

place = database.parts()
config = os.path.join(os.getcwd(), "pretix.cfg")
with open(config, "w") as file:
    file.write(
        f"""[pretix]
datadir={os.getcwd()}/data
url=http://localhost
[database]
backend=postgresql
name={place["NAME"]}
user={place["USER"]}
host={place["HOST"]}
port={place["PORT"]}
[django]
secret=not-used
"""
    )
os.environ["PRETIX_CONFIG_FILE"] = config
os.environ["DJANGO_SETTINGS_MODULE"] = "pretix.settings"
os.makedirs("data/logs", exist_ok=True)

import django  # noqa: E402
from django.core.management import call_command  # noqa: E402

django.setup()
call_command("migrate", verbosity=0)
