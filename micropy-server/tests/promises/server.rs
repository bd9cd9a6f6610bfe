//! The real `micropy-server`, in a process.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A running service; killed when it is dropped.
pub struct Server {
    child: Child,
    /// From its ready line.
    pub url: String,
}

/// `micropy-server`, without the settings of the environment that the tests run in.
pub fn micropy() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_micropy-server"));
    for (name, _) in std::env::vars() {
        let test_knob = ["MICROPY_KILLS", "MICROPY_BIG", "MICROPY_SEED"].contains(&name.as_str());
        if name.starts_with("JWT_") || (name.starts_with("MICROPY_") && !test_knob) {
            command.env_remove(name);
        }
    }
    command
}

impl Server {
    /// Starts it on free ports and waits for its ready line. It appends its log to `log`, next to the data.
    pub fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log_of(folder))
            .unwrap();
        let mut child = micropy()
            .args(["serve", "--listen", "127.0.0.1:0", "--auth-listen"])
            .args(["127.0.0.1:0", "--health-listen", "127.0.0.1:0"])
            .args(["--log", "json", "--data-dir"])
            .arg(folder.join("data"))
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim_end().strip_prefix("micropy is ready: ");
        let url = url.unwrap_or_else(|| panic!("no ready line: {line:?}\n{}", log_text(folder)));
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Server {
            url: url.to_owned(),
            child,
        }
    }

    /// Where health and metrics are, by its log.
    pub fn health_url(folder: &Path) -> String {
        let log = log_text(folder);
        let lines = log
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found = lines.filter(|line| line["message"] == "health and metrics");
        let address = found.next().expect("it is logged")["address"].clone();
        format!("http://{}", address.as_str().unwrap())
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM. Returns how the process ends within `grace`.
    pub fn terminate(mut self, grace: Duration) -> ExitStatus {
        let kill = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(asked.elapsed() < grace, "still running after {grace:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The memory of the process in KiB. The peak is counted from now on.
    pub fn begin_peak(&self) -> u64 {
        // Resets VmHWM, proc_pid_clear_refs(5): the memory for hashing passwords would hide what follows.
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
        self.memory("VmRSS:")
    }

    /// The peak memory of the process since then, in KiB.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.and_then(|number| number.parse().ok()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_of(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// The log of all services of this folder.
pub fn log_text(folder: &Path) -> String {
    std::fs::read_to_string(log_of(folder)).unwrap()
}
