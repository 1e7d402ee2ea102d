"""What graphite-web needs to know of this machine; named by GRAPHITE_SETTINGS_MODULE, in place of local_settings.py.

The folders come from the environment: GRAPHITE_CONF_DIR and GRAPHITE_STORAGE_DIR.
"""

import os
import secrets

SECRET_KEY = os.environ.get("GRAPHITE_SECRET_KEY") or secrets.token_hex(32)
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
TIME_ZONE = "UTC"
CARBONLINK_HOSTS = [os.environ.get("CARBONLINK", "127.0.0.1:7002")]
# Fresh values, not those of a minute ago: the charts of a service are looked at while something happens.
FIND_CACHE_DURATION = 0
DEFAULT_CACHE_DURATION = 0
