//! The sidecar's admin API, as the command line asks it: blocking, JSON both ways, every answer
//! bounded in time and size.
//!
//! Deliberately absent: redirects and proxies. A token is for the address that was named, and a
//! sidecar on this machine is never behind a proxy.

mod error;
mod events;
mod sse;
#[cfg(test)]
pub(super) mod testing;
mod trust;
mod unix;

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Body, http};

pub(super) use error::CallError;
pub(super) use events::Events;

use super::exit::{Exit, Failure};

/// For everything from the connection to the end of an answer. Starting a rollout waits for a disk.
const ANSWER: Duration = Duration::from_secs(60);
/// For a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// A stream that says nothing for so long is dead: a living one sends comments more often.
const SILENCE: Duration = Duration::from_secs(45);
/// Longest answer. The records of a long rollout take some megabytes.
const ANSWER_BYTES: u64 = 256 * 1024 * 1024;
/// Longest token file.
const TOKEN_BYTES: u64 = 16 * 1024;

/// Which sidecar, and how it is known that one may ask it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The sidecar")]
pub(super) struct ServerArgs {
    /// Address of the sidecar's admin API: http://HOST:PORT, https://HOST:PORT or unix:/PATH.
    #[arg(long, value_name = "URL", env = "SWITCHBACK_SERVER", default_value = DEFAULT, global = true)]
    server: String,
    #[command(flatten)]
    access: AccessArgs,
}

/// Where the admin API listens unless the configuration says otherwise.
const DEFAULT: &str = "http://127.0.0.1:9901";

/// How it is known that one may ask a sidecar.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct AccessArgs {
    /// Token of the admin API. Others on this machine can see it on the command line: prefer the
    /// environment or --token-file.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SWITCHBACK_TOKEN",
        hide_env_values = true,
        global = true,
        conflicts_with = "token_file"
    )]
    token: Option<String>,
    /// File that holds the token.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// PEM file of the authorities to trust for https. Default: those of the public web.
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// PEM file of the certificate to show, in the place of a token.
    #[arg(long, value_name = "FILE", env = "SWITCHBACK_CLIENT_CERT", global = true, requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// PEM file of the private key of --client-cert.
    #[arg(long, value_name = "FILE", env = "SWITCHBACK_CLIENT_KEY", global = true, requires = "client_cert")]
    client_key: Option<PathBuf>,
}

impl ServerArgs {
    /// The sidecar that is meant. Nothing is sent yet.
    pub(super) fn server(&self) -> Result<Server, Failure> {
        Server::new(&self.server, &self.access)
    }
}

/// A sidecar to be asked.
#[derive(Debug, Clone)]
pub(super) struct Server {
    agent: Agent,
    /// What paths are put behind.
    base: String,
    /// As it was named, for messages.
    name: String,
    authorization: Option<String>,
}

impl Server {
    /// The sidecar at `url`. Nothing is sent yet.
    pub(super) fn new(url: &str, access: &AccessArgs) -> Result<Self, Failure> {
        let usage = |why: String| Failure::new(Exit::Usage, why);
        let identity = access.client_cert.as_deref().zip(access.client_key.as_deref());
        let tls = trust::tls(access.ca.as_deref(), identity).map_err(usage)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT))
            .max_response_header_size(64 * 1024)
            .max_idle_connections(0)
            .user_agent(concat!("switchback/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build();
        let (agent, base) = match url.strip_prefix("unix:") {
            Some(path) => {
                let connector = unix::UnixConnector::new(PathBuf::from(path));
                let agent = Agent::with_parts(config, connector, unix::NoResolver);
                (agent, "http://localhost".to_owned())
            }
            None => {
                let base = base(url).map_err(usage)?;
                let connector = ureq::unversioned::transport::DefaultConnector::default();
                (Agent::with_parts(config, connector, DefaultResolver::default()), base)
            }
        };
        let token = token(access).map_err(usage)?;
        let authorization = token.map(|token| format!("Bearer {token}"));
        Ok(Self { agent, base, name: url.to_owned(), authorization })
    }

    /// Asks for a document.
    pub(super) fn get(&self, path: &str) -> Result<Value, CallError> {
        let mut request = self.agent.get(self.url(path));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let answer = request.config().timeout_global(Some(ANSWER)).build().call();
        self.read(answer.map_err(|error| self.unreachable(&error))?)
    }

    /// Sends a command. `key`: the same command under the same key is carried out once.
    pub(super) fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Result<Value, CallError> {
        let mut request = self.agent.post(self.url(path)).header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.config().timeout_global(Some(ANSWER)).build().send(body.to_string().as_bytes());
        self.read(answer.map_err(|error| self.unreachable(&error))?)
    }

    /// Asks for a stream of events. It ends when the other side ends it, or is silent for too long,
    /// or after `most`.
    pub(super) fn events(&self, path: &str, most: Option<Duration>) -> Result<Events, CallError> {
        let mut request = self.agent.get(self.url(path)).header("accept", "text/event-stream");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let silence = most.map_or(SILENCE, |most| most.min(SILENCE)).max(Duration::from_millis(1));
        let answer = request
            .config()
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(silence))
            .timeout_recv_body(most)
            .build()
            .call()
            .map_err(|error| self.unreachable(&error))?;
        match answer.status().is_success() {
            true => Ok(Events::new(answer.into_body())),
            false => Err(self.read(answer).err().unwrap_or(CallError::Garbled(self.name.clone()))),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.base)
    }

    fn unreachable(&self, error: &ureq::Error) -> CallError {
        error::unreachable(&self.name, error)
    }

    fn read(&self, answer: http::Response<Body>) -> Result<Value, CallError> {
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        let mut reader = answer.into_body().into_with_config().limit(ANSWER_BYTES).reader();
        reader.read_to_end(&mut body).map_err(|e| error::cut(&self.name, &e))?;
        match status {
            200..300 => serde_json::from_slice(&body).map_err(|_| CallError::Garbled(self.name.clone())),
            _ => Err(error::refused(status, &body, &self.name)),
        }
    }
}

/// A name as a part of a path (RFC 3986 section 2.1).
pub(super) fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// What paths are put behind, of the address as it was named.
fn base(url: &str) -> Result<String, String> {
    let wrong = |why: &str| format!("--server {url:?}: {why}: write http://127.0.0.1:9901 or unix:/path");
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: http::Uri = full.parse().map_err(|_| wrong("not an address"))?;
    let (scheme, authority) = (uri.scheme_str().unwrap_or_default(), uri.authority());
    let authority = authority.filter(|a| !a.host().is_empty()).ok_or_else(|| wrong("it names no host"))?;
    if !matches!(scheme, "http" | "https") {
        return Err(wrong("neither http nor https"));
    }
    if authority.as_str().contains('@') {
        return Err(wrong("it holds a user: use --token-file"));
    }
    let path = uri.path().trim_end_matches('/');
    Ok(format!("{scheme}://{authority}{path}"))
}

fn token(access: &AccessArgs) -> Result<Option<String>, String> {
    let token = match (&access.token, &access.token_file) {
        (_, Some(path)) => {
            let failed = |error: std::io::Error| format!("--token-file {}: {error}", path.display());
            let mut text = String::new();
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(TOKEN_BYTES).read_to_string(&mut text).map_err(failed)?;
            Some(text.trim().to_owned())
        }
        (token, None) => token.clone(),
    };
    let token = token.filter(|token| !token.is_empty());
    match &token {
        Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err("the token holds signs that no header can carry".to_owned())
        }
        _ => Ok(token),
    }
}

#[cfg(test)]
mod tests;
