"""GridFS as PyMongo does it.

    pymongo_files.py URL DATABASE put LENGTH [CHUNK]   stores bytes 0, 1, … 250, 0, … as a service of old did: prints the id
    pymongo_files.py URL DATABASE md5 ID               prints the MD5 of a file, its name and its owner
    pymongo_files.py URL DATABASE list                 prints the ids of all files
"""

import hashlib
import sys

import gridfs
import pymongo
from bson import ObjectId

url, database, what, *rest = sys.argv[1:]
database = pymongo.MongoClient(url)[database]
files = gridfs.GridFS(database)
if what == "put":
    length, *chunk = map(int, rest)
    data = (bytes(range(251)) * (length // 251 + 1))[:length]
    print(files.put(data, **({"chunkSize": chunk[0]} if chunk else {})))
elif what == "md5":
    file = files.get(ObjectId(rest[0]))
    digest = hashlib.md5()
    while piece := file.read(100_000):
        digest.update(piece)
    print(digest.hexdigest(), file.filename, file.metadata["owner"])
elif what == "list":
    print(*sorted(str(file._id) for file in files.find()))
