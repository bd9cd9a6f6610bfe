"""The auth service as people run it in Python: passwords compared as they stand, tokens by PyJWT.

It does what that does, also where ours does better: it tells unknown users from wrong passwords, and fails on a
header it does not expect.
"""

import datetime
import os

import jwt
import pymysql
from flask import Flask, request

app = Flask(__name__)
SECRET = os.environ["JWT_SECRET"]


def password_of(email):
    """The e-mail address and the password as the table has them."""
    database = pymysql.connect(
        host=os.environ["MYSQL_HOST"], port=int(os.environ["MYSQL_PORT"]), user=os.environ["MYSQL_USER"],
        password=os.environ["MYSQL_PASSWORD"], database=os.environ["MYSQL_DB"])
    try:
        with database.cursor() as cursor:
            cursor.execute("SELECT email, password FROM user WHERE email = %s", (email,))
            return cursor.fetchone()
    finally:
        database.close()


@app.post("/login")
def login():
    given = request.authorization
    if not given:
        return "missing credentials", 401
    row = password_of(given.username)
    if row is None:
        return "invalide credentials", 401
    if (given.username, given.password) != row:
        return "invalid credentials", 401
    now = datetime.datetime.now(tz=datetime.timezone.utc)
    claims = {"username": given.username, "exp": now + datetime.timedelta(days=1), "iat": now, "admin": True}
    return jwt.encode(claims, SECRET, algorithm="HS256")


@app.post("/validate")
def validate():
    header = request.headers["Authorization"]
    if not header:
        return "missing credentials", 401
    token = header.split(" ")[1]
    try:
        return jwt.decode(token, SECRET, algorithms=["HS256"]), 200
    except jwt.InvalidTokenError:
        return "not authorized", 403


if __name__ == "__main__":
    app.run(host=os.environ["HOST"], port=int(os.environ["PORT"]))
