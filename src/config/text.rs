//! Texts that have a form of their own: names, headers, hosts, paths, pointers, addresses.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Method};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::{BindAddress, ModelName, Network, VersionName};
use crate::certs::NameRule;
use crate::load::slo::Slo;

use super::problem::{At, Report, short};
use super::read::{Read, looks_otherwise};
use super::scalar::scalar;
use super::tree::Node;
use super::url::{self, LONGEST_SOCKET, Refusal, Url};

/// Longest text of any kind, in bytes.
const LONGEST: usize = 4096;

/// Declares text types: what they hold, what a message calls them, how they are read and what the
/// schema says beside `type: string`.
macro_rules! texts {
    ($( $(#[$meta:meta])* $name:ident($inner:ty), $expected:literal, $read:expr, $schema:tt; )+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub(super) struct $name(pub $inner);

        impl Read for $name {
            fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
                let (text, plain) = scalar(node, at, $expected, report)?;
                let read: fn(&str) -> Result<$inner, Refusal> = $read;
                let result = match text.len() {
                    0 => Err(("is empty".to_owned(), concat!("write ", $expected).to_owned())),
                    n if n > LONGEST => Err((format!("{n} bytes are too long"), "write fewer".to_owned())),
                    _ => read(text),
                };
                // Good as text, but a number or boolean to YAML: `1.10` would be 1.1 elsewhere.
                let result = match result {
                    Ok(_) if plain && looks_otherwise(text) => Err((
                        format!("expected {}, found {}", $expected, short(text)),
                        format!("put it in quotes: {:?}", short(text)),
                    )),
                    result => result,
                };
                result.map_err(|(message, fix)| report.wrong(at, message, fix)).ok().map(Self)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = json_schema!($schema);
                schema.insert("type".to_owned(), "string".into());
                schema
            }
        }
    )+ };
}

texts! {
    /// Name of a listener.
    ListenerNameText(String), "a name",
        |t| match t {
            "admin" => Err(("\"admin\" is the name of the admin address".into(), "write another name".into())),
            t => ModelName::new(t).map(|n| n.to_string()).map_err(|_| not_a_name(t)),
        },
        { "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" };
    /// Name of a model.
    ModelNameText(ModelName), "a name", |t| ModelName::new(t).map_err(|_| not_a_name(t)),
        { "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" };
    /// Name of a version.
    VersionNameText(VersionName), "a name", |t| VersionName::new(t).map_err(|_| not_a_name(t)),
        { "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" };
    /// Where to listen.
    AddressText(BindAddress), "an address such as \"127.0.0.1:8080\"", address,
        { "examples": ["127.0.0.1:8080", "[::1]:8080", "unix:/run/switchback.sock"] };
    /// Name of something that only Switchback knows: a check, a gate, a token, a receiver of news.
    NameText(String), "a name", |t| ModelName::new(t).map(|n| n.to_string()).map_err(|_| not_a_name(t)),
        { "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" };
    /// Name of an environment variable (POSIX, section 8.1).
    EnvironmentText(String), "the name of an environment variable",
        |t| {
            let first = t.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
            match first && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                true => Ok(t.to_owned()),
                false => Err((
                    format!("{:?} is not the name of an environment variable", short(t)),
                    "use letters, digits and '_', without `$`".into(),
                )),
            }
        },
        { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" };
    /// Where something is posted: a URL with a path, and perhaps a query.
    WebhookUrlText(String), "a URL such as \"https://hooks.example/gate\"",
        |t| url::web(t, true), { "pattern": "^https?://[^/?#@]+(/[^#]*)?$" };
    /// Where an API is: a URL with or without a path, without a query.
    BaseUrlText(String), "a URL such as \"https://alerts.example\"",
        |t| url::web(t, false), { "pattern": "^https?://[^/?#@]+(/[^?#]*)?$" };
    /// A repository at GitHub.
    RepositoryText(String), "a repository such as \"acme/models\"",
        |t| {
            let plain = |part: &str| {
                let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
                (1..=100).contains(&part.len()) && part.bytes().all(known) && !matches!(part, "." | "..")
            };
            match t.split_once('/') {
                Some((owner, name)) if plain(owner) && plain(name) => Ok(t.to_owned()),
                _ => Err((format!("{:?} is not a repository", short(t)), "write OWNER/NAME, without host".into())),
            }
        },
        { "pattern": "^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$" };
    /// A model server's URL.
    UrlText(Url), "a URL such as \"http://127.0.0.1:9001\"", url::parse,
        { "pattern": "^(https?://[^/?#@]+|unix:/.+)$",
          "examples": ["http://127.0.0.1:9001", "https://models.example", "unix:/run/model.sock"] };
    /// A file or folder.
    PathText(String), "a path",
        |t| match t.contains('\0') {
            true => Err((format!("{:?} is not a path", short(t)), "remove the NUL".into())),
            false => Ok(t.to_owned()),
        },
        { "minLength": 1 };
    /// Folder of a model below the repository: one path segment.
    FolderText(String), "the name of a folder",
        |t| match matches!(t, "." | "..") || t.contains(['/', '\\', '\0']) || t.len() > 255 {
            true => Err((format!("{:?} is not the name of a folder", short(t)), "write one folder's name, without `/`".into())),
            false => Ok(t.to_owned()),
        },
        { "pattern": "^[^/\\\\]+$" };
    /// SHA-256 in hexadecimal, with or without `sha256:` in front.
    DigestText(String), "a SHA-256",
        |t| match t.strip_prefix("sha256:").unwrap_or(t) {
            hex if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(hex.to_ascii_lowercase()),
            _ => Err((format!("{:?} is not a SHA-256", short(t)), "write the 64 digits that `sha256sum` prints".into())),
        },
        { "pattern": "^(sha256:)?[0-9a-fA-F]{64}$" };
    /// Name that some server or protocol knows something by.
    ForeignText(String), "text",
        |t| match t.chars().any(char::is_control) || t.len() > 255 {
            true => Err((format!("{:?} is not a name", short(t)), "write at most 255 bytes without control characters".into())),
            false => Ok(t.to_owned()),
        },
        { "minLength": 1, "maxLength": 255 };
    /// Name of a header.
    HeaderNameText(HeaderName), "the name of a header",
        |t| HeaderName::try_from(t).map_err(|_| not_a_header(t)),
        { "pattern": HEADER_PATTERN };
    /// Value of a header.
    HeaderValueText(HeaderValue), "the value of a header",
        |t| HeaderValue::try_from(t).ok().filter(|_| t.trim() == t).ok_or_else(|| (
            format!("{:?} is not the value of a header", short(t)),
            "remove control characters and spaces at the ends".into(),
        )),
        { "minLength": 1 };
    /// Name of a cookie (a token: RFC 6265 section 4.1.1).
    CookieText(String), "the name of a cookie",
        |t| HeaderName::try_from(t).map(|_| t.to_owned()).map_err(|_| (
            format!("{:?} is not the name of a cookie", short(t)),
            "use letters, digits and -_.!#$%&'*+^`|~ only".into(),
        )),
        { "pattern": HEADER_PATTERN };
    /// JSON pointer (RFC 6901) to a value inside the body.
    PointerText(String), "a JSON pointer such as \"/user\"", pointer,
        { "pattern": "^(/([^/~]|~[01])*)+$", "examples": ["/user", "/inputs/0/name"] };
    /// JSON pointer (RFC 6901) in which `*` stands for any one key or index.
    PatternText(String), "a JSON pointer such as \"/user\"", pointer,
        { "pattern": "^(/([^/~]|~[01])*)+$", "examples": ["/user", "/inputs/*/data"] };
    /// Name of an output, or with `/` in front a JSON pointer as in [`PatternText`].
    OutputText(String), "an output such as \"probabilities\" or \"/score\"",
        |t| match t.starts_with('/') {
            true => pointer(t),
            false if t.chars().any(char::is_control) || t.len() > 255 => Err((
                format!("{:?} is not the name of an output", short(t)),
                "write at most 255 bytes without control characters".into(),
            )),
            false => Ok(t.to_owned()),
        },
        { "minLength": 1, "examples": ["probabilities", "/score"] };
    /// Host of requests, perhaps with `*.` in front.
    HostPatternText(String), "a host such as \"fraud.example\"",
        |t| match url::is_host(t.strip_prefix("*.").unwrap_or(t)) {
            true => Ok(t.to_ascii_lowercase()),
            false => Err((
                format!("{:?} is not a host", short(t)),
                "write a name such as \"fraud.example\" or \"*.example\", without scheme and port".into(),
            )),
        },
        { "pattern": "^(\\*\\.)?[A-Za-z0-9._:\\[\\]-]+$", "examples": ["fraud.example", "*.example"] };
    /// Host with or without a port, as sent to a server.
    AuthorityText(String), "a host such as \"fraud.svc\"",
        |t| match url::split_authority(t) {
            Some((host, port)) if url::is_host(host) && port.is_none_or(|p| url::port(p).is_some()) => Ok(t.to_owned()),
            _ => Err((
                format!("{:?} is not a host", short(t)),
                "write HOST or HOST:PORT, without scheme and path".into(),
            )),
        },
        { "pattern": "^[A-Za-z0-9._:\\[\\]-]+$" };
    /// Start of a path, by whole segments.
    PrefixText(String), "a path such as \"/score\"", prefix,
        { "pattern": "^/[^?#\\s]*$" };
    /// Where a load test sends to: a URL with or without a path.
    LoadUrlText(LoadUrl), "a URL such as \"http://127.0.0.1:8080\"", load_url,
        { "pattern": "^(https?://[^/?#@]+(/[^?#]*)?|unix:/.+)$" };
    /// Path and query of a request.
    RequestPathText(String), "a path such as \"/score\"",
        |t| match t.starts_with('/') && t.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            true => Ok(t.to_owned()),
            false => Err((
                format!("{:?} is not a path", short(t)),
                "start it with `/`, without fragment, and write other characters as %XX".to_owned(),
            )),
        },
        { "pattern": "^/[^#\\s]*$" };
    /// Method of a request.
    MethodText(Method), "a method such as POST",
        |t| match Method::try_from(t) {
            Ok(Method::CONNECT) | Err(_) => {
                Err((format!("{:?} is not a method", short(t)), "write GET, POST, PUT, PATCH or DELETE".to_owned()))
            }
            Ok(method) => Ok(method),
        },
        { "pattern": "^[A-Z]+$" };
    /// A goal of a load test.
    SloText(Slo), "a goal such as \"p99 < 80ms\"",
        |t| Slo::parse(t).map_err(|error| (error.message, error.fix)),
        { "examples": ["p99 < 80ms", "errors < 0.1%", "throughput > 390/s", "goodput > 99%", "B/A p99 < 1.1"] };
    /// A path with perhaps a query.
    QuestionText(String), "a path such as \"/healthz\"",
        |t| match t.parse::<http::uri::PathAndQuery>() {
            Ok(path) if t.starts_with('/') && path.as_str() == t => Ok(t.to_owned()),
            _ => Err((format!("{:?} is not a path", short(t)), "start it with `/`, and leave out the fragment".into())),
        },
        { "pattern": "^/[^#\\s]*$", "examples": ["/healthz", "/ready?full=1"] };
    /// A network, or `unix`.
    NetworkText(Network), "a network such as \"10.0.0.0/8\"",
        |t| t.parse().map_err(|_| (
            format!("{:?} is not a network", short(t)),
            "write ADDRESS/BITS such as \"10.0.0.0/8\" or \"::1/128\", an address alone, or \"unix\"".into(),
        )),
        { "examples": ["10.0.0.0/8", "127.0.0.1", "unix"] };
    /// What a certificate may be for.
    CertificateNameText(NameRule), "a name such as \"models.internal\"",
        |t| t.parse().map_err(|_| (
            format!("{:?} is not the name of a certificate", short(t)),
            "write a DNS name, \"*.example\", an IP address, or a URI such as \"spiffe://cluster/model\"".into(),
        )),
        { "minLength": 1, "examples": ["models.internal", "*.internal", "spiffe://cluster/*"] };
    /// Name in a certificate.
    ServerNameText(String), "a host name",
        |t| rustls::pki_types::ServerName::try_from(t).map(|_| t.to_owned()).map_err(|_| (
            format!("{:?} is not a host name", short(t)),
            "write the DNS name or IP address in the server's certificate".into(),
        )),
        { "minLength": 1 };
}

/// Any text; what YAML takes for a number or truth value is the text that was written.
#[derive(Debug, Clone)]
pub(super) struct AnyText(pub String);

impl Read for AnyText {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let (text, _) = scalar(node, at, "a text", report)?;
        Some(Self(text.to_owned()))
    }
}

impl JsonSchema for AnyText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "AnyText".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// A URL of a load test, taken apart.
#[derive(Debug, Clone)]
pub(super) struct LoadUrl {
    /// As it was written.
    pub written: String,
    /// Where it is.
    pub url: Url,
    /// Its path without `/` at the end.
    pub prefix: String,
}

fn load_url(text: &str) -> Result<LoadUrl, Refusal> {
    let start = text.find("://").map_or(0, |at| at + 3);
    let path = match text.starts_with("unix:") {
        true => None,
        false => text.get(start..).and_then(|rest| rest.find(['/', '?', '#'])).map(|at| start + at),
    };
    let (base, path) = path.and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""));
    if !path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#')) {
        return Err((
            format!("{:?} has a query, a fragment or signs that no path has", short(text)),
            "write them in the path of a request".to_owned(),
        ));
    }
    Ok(LoadUrl {
        written: text.to_owned(),
        url: url::parse(base)?,
        prefix: path.trim_end_matches('/').to_owned(),
    })
}

const HEADER_PATTERN: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";

fn not_a_name(text: &str) -> Refusal {
    let fix = "use 1 to 63 letters, digits, '.', '_' or '-', starting with a letter or digit";
    (format!("{:?} is not a name", short(text)), fix.to_owned())
}

fn not_a_header(text: &str) -> Refusal {
    let fix = "use letters, digits and '-', such as \"x-user-id\"";
    (format!("{:?} is not the name of a header", short(text)), fix.to_owned())
}

fn address(text: &str) -> Result<BindAddress, Refusal> {
    let message = || format!("{:?} is not an address to listen on", short(text));
    match text.parse::<BindAddress>() {
        Ok(_) if text.contains('\0') => Err((message(), "remove the NUL".to_owned())),
        Ok(BindAddress::Unix(path)) if path.as_os_str().len() > LONGEST_SOCKET => {
            Err((message(), format!("the path of a Unix socket has at most {LONGEST_SOCKET} bytes")))
        }
        Ok(address) => Ok(address),
        Err(_) => {
            let port = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
            let fix = match port.parse::<u16>() {
                Ok(port) if text.starts_with("localhost") => format!("write \"127.0.0.1:{port}\""),
                Ok(port) => format!("write \"0.0.0.0:{port}\""),
                Err(_) => "write IP:PORT such as \"127.0.0.1:8080\", or \"unix:/path\"".to_owned(),
            };
            Err((message(), fix))
        }
    }
}

fn pointer(text: &str) -> Result<String, Refusal> {
    let escapes = |part: &str| part.starts_with(['0', '1']);
    if !text.starts_with('/') {
        let fix = format!("start it with `/`: \"/{}\"", short(text.trim_start_matches(['$', '.', '#'])));
        return Err((format!("{:?} is not a JSON pointer", short(text)), fix));
    }
    match text.split('~').skip(1).all(escapes) {
        true => Ok(text.to_owned()),
        false => Err((
            format!("{:?} is not a JSON pointer", short(text)),
            "write \"~0\" for `~` and \"~1\" for `/` in a name".to_owned(),
        )),
    }
}

fn prefix(text: &str) -> Result<String, Refusal> {
    let message = || format!("{:?} is not the start of a path", short(text));
    if !text.starts_with('/') {
        return Err((message(), "start it with `/`".to_owned()));
    }
    let visible =
        text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'"' | b'<' | b'>'));
    if !visible {
        return Err((
            message(),
            "leave out query and fragment, and write other characters as %XX".to_owned(),
        ));
    }
    // One `/` at the end means the same: prefixes match whole segments.
    let bare = text.strip_suffix('/').unwrap_or(text);
    if bare.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return Err((message(), "write it without empty, `.` and `..` segments".to_owned()));
    }
    Ok(if bare.is_empty() { "/".to_owned() } else { bare.to_owned() })
}
