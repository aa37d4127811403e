"""The dashboards, with the roles and users of Flask-AppBuilder."""

import os

import database

place = database.parts()
url = "postgresql+psycopg2://{USER}@/{NAME}?host={HOST}&port={PORT}".format(**place)
with open("superset_config.py", "w") as file:
    file.write(
        f"""SECRET_KEY = "not used, but long enough for it"
SQLALCHEMY_DATABASE_URI = {url!r}
FILTER_STATE_CACHE_CONFIG = EXPLORE_FORM_DATA_CACHE_CONFIG = {{"CACHE_TYPE": "NullCache"}}
"""
    )
os.environ["SUPERSET_CONFIG_PATH"] = os.path.abspath("superset_config.py")
os.environ["FLASK_APP"] = "superset.app:create_app()"

from flask_migrate import upgrade  # noqa: E402
from superset.app import create_app  # noqa: E402

app = create_app()
with app.app_context():
    upgrade()
