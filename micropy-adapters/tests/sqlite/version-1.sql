-- A database as programs with schema number 1 left it. Never edit this: it stands for those that people have.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    payload BLOB NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    -- A receiver has it, until due at the latest.
    held INTEGER NOT NULL DEFAULT 0,
    -- Not to be delivered before: milliseconds since the epoch.
    due INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX messages_by_queue ON messages (queue, id);

CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    payload BLOB NOT NULL,
    deliveries INTEGER NOT NULL,
    reason TEXT NOT NULL,
    died INTEGER NOT NULL
) STRICT;

CREATE TABLE jobs (
    id BLOB PRIMARY KEY,
    owner TEXT NOT NULL,
    key TEXT,
    batch BLOB,
    file_name TEXT NOT NULL,
    source BLOB NOT NULL UNIQUE,
    source_bytes INTEGER NOT NULL,
    options TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    progress REAL NOT NULL,
    mp3 BLOB UNIQUE,
    mp3_bytes INTEGER,
    report TEXT,
    failure TEXT,
    created INTEGER NOT NULL,
    started INTEGER,
    finished INTEGER,
    updated INTEGER NOT NULL,
    notified INTEGER,
    fence INTEGER NOT NULL,
    leased_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX jobs_by_key ON jobs (owner, key) WHERE key IS NOT NULL;
CREATE INDEX jobs_by_owner ON jobs (owner, id);
CREATE INDEX jobs_by_state ON jobs (state, updated);

CREATE TABLE users (
    email TEXT PRIMARY KEY,
    password TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO messages (queue, payload, deliveries) VALUES ('video', CAST('{"job_id":"01"}' AS BLOB), 1);
INSERT INTO dead_letters VALUES (7, 'mp3', CAST('{}' AS BLOB), 3, 'not JSON', 1700000000000);
INSERT INTO users VALUES ('ann@example.com', 'secret');
INSERT INTO jobs (
    id, owner, file_name, source, source_bytes, options, state, attempts, progress, mp3, mp3_bytes, report, created,
    started, finished, updated, fence, leased_until
) VALUES (
    x'010101010101010101010101', 'ann@example.com', 'talk.mp4', x'020202020202020202020202', 100, '{"bitrate":128}',
    'done', 1, 1.0, x'030303030303030303030303', 7, '{"frames":1}', 1700000000000, 1700000001000, 1700000002000,
    1700000002000, 1, 1700000031000
);
PRAGMA user_version = 1;
