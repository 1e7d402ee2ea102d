"""graphite-web's settings with the scripts and style sheets of its own pages, where Debian puts them; DJANGO_SETTINGS_MODULE.

graphite.settings sets STATICFILES_DIRS after it has read GRAPHITE_SETTINGS_MODULE (graphite_web_settings.py), to a folder
that Debian leaves out.
"""

from pathlib import Path

from graphite.settings import *  # noqa: F403

STATICFILES_DIRS = [folder for folder in ("/usr/share/graphite-web/static",) if Path(folder).is_dir()]
