"""Django's own tables, and tags that point at anything."""

import database
import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    DATABASES=database.django(),
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "taggit",
    ],
    SECRET_KEY="not used",
)
django.setup()
call_command("migrate", verbosity=0)
