//! The sidecar as a process.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::RawClient;

/// A running sidecar. It is killed when dropped.
pub struct Sidecar {
    child: Child,
    addresses: HashMap<String, String>,
    /// There until another process takes it over.
    folder: Option<tempfile::TempDir>,
    log: Arc<Mutex<String>>,
}

impl Sidecar {
    /// Starts the sidecar with this configuration; `{dir}` in it is the folder of the file. The
    /// admin API listens where the system likes unless the configuration says otherwise.
    pub fn start(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config)
    }

    /// The same, in a folder that already holds files.
    pub fn start_in(folder: tempfile::TempDir, config: &str) -> Self {
        Self::spawn(folder, &["--log", "debug"], config)
    }

    /// The same, with these options of `serve`.
    pub fn start_with(options: &[&str], config: &str) -> Self {
        Self::spawn(tempfile::tempdir().unwrap(), options, config)
    }

    /// The same, with these variables in its environment.
    pub fn start_with_environment(variables: &[(&str, &str)], config: &str) -> Self {
        Self::start_env(tempfile::tempdir().unwrap(), variables, config)
    }

    /// The same, in a folder, with these variables in its environment.
    pub fn start_env(folder: tempfile::TempDir, variables: &[(&str, &str)], config: &str) -> Self {
        let path = folder.path().join("switchback.yaml");
        std::fs::write(&path, complete(config, folder.path())).unwrap();
        Self::launch(folder, &["--log", "debug"], variables)
    }

    fn spawn(folder: tempfile::TempDir, options: &[&str], config: &str) -> Self {
        let path = folder.path().join("switchback.yaml");
        std::fs::write(&path, complete(config, folder.path())).unwrap();
        Self::launch(folder, options, &[])
    }

    fn launch(folder: tempfile::TempDir, options: &[&str], variables: &[(&str, &str)]) -> Self {
        let path = folder.path().join("switchback.yaml");
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchback"))
            .arg("serve")
            .args(options)
            .arg("--config")
            .arg(&path)
            .envs(onnx_library().map(|library| ("ORT_DYLIB_PATH", library)))
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (sink, stderr) = (log.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        if !line.starts_with("switchback ready") {
            let _ = child.wait();
            std::thread::sleep(Duration::from_millis(50));
            panic!("the sidecar did not start: {line:?}\n{}", log.lock().unwrap());
        }
        std::thread::spawn(move || {
            let _ = out.read_to_string(&mut String::new());
        });
        let addresses = line.split_whitespace().filter_map(|w| w.split_once('='));
        let addresses = addresses.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Self { child, addresses, folder: Some(folder), log }
    }

    /// Kills the process as `kill -9` does, and starts another one in the same folder. Ports differ.
    pub fn killed_and_started(self) -> Self {
        Self::started_again(self.killed())
    }

    /// Kills the process as `kill -9` does. What is left is its folder.
    pub fn killed(mut self) -> tempfile::TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.folder.take().unwrap()
    }

    /// Starts a process in the folder that another one has left.
    pub fn started_again(folder: tempfile::TempDir) -> Self {
        Self::launch(folder, &["--log", "debug"], &[])
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Address of the listener `main`.
    pub fn main(&self) -> SocketAddr {
        self.address("main")
    }

    /// Address of the admin API.
    pub fn admin(&self) -> SocketAddr {
        self.address("admin")
    }

    /// Address of a listener by name.
    pub fn address(&self, name: &str) -> SocketAddr {
        self.addresses[name].parse().unwrap()
    }

    /// Folder of the configuration.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Writes another configuration in the place of the first, at once.
    pub fn rewrite(&self, config: &str) {
        let new = self.folder().join("new.yaml");
        std::fs::write(&new, complete(config, self.folder())).unwrap();
        std::fs::rename(new, self.folder().join("switchback.yaml")).unwrap();
    }

    /// Sends a signal, by name.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < super::LIMIT, "the sidecar does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `GET` of a JSON document of the admin API.
    pub fn json(&self, path: &str) -> Value {
        let response = self.ask_admin("GET", path, "");
        serde_json::from_slice(&response.body).unwrap_or_else(|e| panic!("{path}: {e}: {response:?}"))
    }

    /// The metrics page.
    pub fn metrics(&self) -> String {
        let response = RawClient::connect(self.admin()).get("/metrics");
        assert_eq!(response.status, 200);
        String::from_utf8(response.body).unwrap()
    }

    /// Sum of the samples of a metric whose labels contain all of `labels` (`key="value"`).
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.metrics();
        let samples = page.lines().filter(|l| !l.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (family, rest) = series.split_once('{').unwrap_or((series, ""));
            (family == name && labels.iter().all(|l| rest.contains(l))).then(|| value.parse::<f64>().unwrap())
        });
        samples.sum()
    }

    /// Waits until the sidecar says that it is ready.
    pub async fn ready(&self) {
        super::until("readiness", async || {
            (RawClient::connect(self.admin()).get("/readyz").status == 200).then_some(())
        })
        .await;
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the sidecar\n{}", self.log());
        }
    }
}

/// ONNX Runtime, where `make parts` has put it.
pub fn onnx_library() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH") {
        return Some(path.into());
    }
    let cached = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnxruntime/libonnxruntime.so");
    cached.exists().then_some(cached)
}

fn complete(config: &str, folder: &Path) -> String {
    let mut text = config.replace("{dir}", folder.to_str().unwrap());
    for (key, default) in [
        ("admin:", "admin: {address: 127.0.0.1:0}\n"),
        ("listeners:", "listeners: [{name: main, address: 127.0.0.1:0}]\n"),
        ("workers:", "workers: 1\n"),
    ] {
        if !text.lines().any(|l| l.starts_with(key)) {
            text.insert_str(0, default);
        }
    }
    text
}
