"""The conference's call for papers and its schedule, by its own settings."""

import os

import database

place = database.parts()
config = os.path.join(os.getcwd(), "pretalx.cfg")
with open(config, "w") as file:
    file.write(
        f"""[filesystem]
data={os.getcwd()}/data
[site]
url=http://localhost
secret=not-used
[database]
backend=postgresql
name={place["NAME"]}
user={place["USER"]}
host={place["HOST"]}
port={place["PORT"]}
"""
    )
os.environ["PRETALX_CONFIG_FILE"] = config
os.environ["DJANGO_SETTINGS_MODULE"] = "pretalx.settings"
os.makedirs("data/logs", exist_ok=True)

import django  # noqa: E402
from django.core.management import call_command  # noqa: E402

django.setup()
call_command("migrate", verbosity=0)
