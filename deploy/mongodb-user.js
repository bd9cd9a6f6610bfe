// The user of the services, made with a new volume: mongosh runs this before there is any access control.
db.getSiblingDB("admin").createUser({
  user: "micropy",
  pwd: require("fs").readFileSync("/run/secrets/mongodb_password", "utf8").trim(),
  roles: [
    { role: "readWrite", db: "videos" },
    { role: "readWrite", db: "mp3s" },
    { role: "readWrite", db: "micropy" },
  ],
});
