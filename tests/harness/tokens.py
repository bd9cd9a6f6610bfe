"""JSON Web Tokens as the services make them, or nearly so, by PyJWT."""

import time

import jwt

SECRET = "a secret of the tests, of more than 32 bytes"
DAY = 86400


def token(user="ann@example.com", secret=SECRET, algorithm="HS256", begun=0, **claims):
    """A token for a day that began so many seconds after now; without a secret, one of the algorithm `none`."""
    begun += int(time.time())
    claims = {"username": user, "exp": begun + DAY, "iat": begun, "admin": True, **claims}
    return jwt.encode(claims, secret, algorithm if secret else "none")
