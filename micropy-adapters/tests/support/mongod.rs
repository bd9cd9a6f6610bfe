//! A real mongod, and programs of others that speak with it.

#[path = "environment.rs"]
mod environment;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use micropy_adapters::mongodb::Client;

/// The server of all tests, where there is one.
pub fn url(test: &str) -> Option<String> {
    environment::variable("MICROPY_TEST_MONGODB_URL", test)
}

/// A database of one test.
pub struct Database {
    pub name: String,
    pub client: Client,
    /// The same, to look behind the adapter.
    pub direct: mongodb::Database,
}

impl Database {
    /// An empty database, where there is a server.
    pub async fn new(test: &str) -> Option<Self> {
        let url = url(test)?;
        Some(Self::at(&url, test).await)
    }

    pub async fn at(url: &str, test: &str) -> Self {
        let name = format!("{test}-{}", std::process::id());
        let direct = mongodb::Client::with_uri_str(url).await.unwrap();
        Database {
            client: Client::open(url).await.unwrap(),
            direct: direct.database(&name),
            name,
        }
    }

    pub async fn remove(self) {
        self.direct.drop().await.unwrap();
    }
}

/// The folder of the whole project.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A mongod of one test, which may be killed.
pub struct Mongod {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub url: String,
}

impl Mongod {
    pub fn start() -> Self {
        let mut process = Command::new("python3")
            .arg(project().join("micropy-adapters/tests/mongod.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut server = Mongod {
            orders: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
            url: String::new(),
        };
        server.url = server.answer();
        server
    }

    /// Has it do `start`, `stop` or `kill`, and waits until it is done.
    pub fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
        assert_eq!(self.answer(), order);
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Ends it, and removes its data.
    pub fn close(mut self) {
        drop(self.orders);
        assert!(self.process.wait().unwrap().success());
    }
}
