//! Golden examples: requests with the answers that a candidate must give before it gets traffic.
//!
//! One JSON object a line: `{"path": "/v2/models/m/infer", "body": {…}, "answer": {…}}`, with
//! `method` (default `POST`), `headers` and `status` (default 200) where they matter. An answer is
//! compared as a shadow's would be, by the model's own rules.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::Value;

use crate::base::VersionName;
use crate::control::board::Switchboard;
use crate::divergence;
use crate::inference::answer::{self, Limits, RawAnswer};
use crate::inference::path;
use crate::routing::body::bare;
use crate::routing::call;
use crate::routing::local::{LocalTable, LocalVersion};
use crate::routing::spec::ModelSpec;
use crate::stats::Registry;
use crate::wire::body::{Capture, Sink as _, Source};
use crate::wire::rewrite::Edited;

/// Most examples of one file.
const EXAMPLES: usize = 10_000;
/// Longest line.
const LINE_BYTES: usize = 4 * 1024 * 1024;
/// Longest answer.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// For one answer.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    path: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    body: Value,
    #[serde(default = "ok")]
    status: u16,
    answer: Value,
}

fn ok() -> u16 {
    200
}

/// Has `candidate` answer the examples in `file`.
///
/// # Errors
/// The first example that it does not answer as it should, with its line, in one line.
pub(super) fn run(
    file: &Path,
    model: &str,
    candidate: &VersionName,
    board: &Switchboard,
) -> Result<String, String> {
    let declared = board.declared(model).ok_or("the model is gone")?;
    let opened = std::fs::File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let local = LocalTable::new(board.table(), None, &Registry::new());
    let version = local
        .models
        .iter()
        .find(|m| m.model.spec.name.as_str() == model)
        .and_then(|m| m.versions.iter().find(|v| v.version.spec.name == *candidate).cloned());
    let version = version.ok_or("the candidate is not served")?;
    let mut passed = 0;
    for (number, line) in (1..).zip(BufReader::new(opened).lines()) {
        let line = line.map_err(|error| format!("{}: {error}", file.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let at = |what: String| format!("{} line {number}: {what}", file.display());
        if line.len() > LINE_BYTES || passed >= EXAMPLES {
            return Err(at(format!("at most {EXAMPLES} examples of at most {LINE_BYTES} bytes")));
        }
        let example: Example = serde_json::from_str(&line).map_err(|error| at(error.to_string()))?;
        let asked = tokio::task::LocalSet::new();
        let outcome = asked.block_on(&runtime, async {
            tokio::time::timeout(DEADLINE, ask(&version, &example, &declared))
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {DEADLINE:?}")))
        });
        outcome.map_err(at)?;
        passed += 1;
    }
    match passed {
        0 => Err(format!("{} has no examples", file.display())),
        _ => Ok(format!("{passed} examples answered as they should be")),
    }
}

async fn ask(version: &Rc<LocalVersion>, example: &Example, declared: &ModelSpec) -> Result<(), String> {
    let body = Bytes::from(example.body.to_string());
    let head = head(example, body.len())?;
    let mut capture = Capture::new(body.len(), None);
    capture.data(&body);
    capture.end(None);
    let source = capture.complete().map(Source::replay).ok_or("the body cannot be sent")?;
    let called = call::call(version, head, bare(source)).await.map_err(|failed| failed.fault.to_string())?;
    let (mut head, body) = called.response.into_parts();
    let editor = called.restore.and_then(|restore| restore.response(&mut head));
    let limited = http_body_util::Limited::new(Edited::new(body, editor), ANSWER_BYTES);
    let answered = limited.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let text = |name: &HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let api = path::parse(example.path.split('?').next().unwrap_or_default());
    let read = |status, content_type, content_encoding, body: &[u8]| {
        let raw = RawAnswer {
            api,
            status,
            grpc: None,
            content_type,
            content_encoding,
            inference_header_length: None,
            body,
            chunk_times: &[],
        };
        answer::read(&raw, &Limits::default())
    };
    let (content_type, encoding) = (text(&header::CONTENT_TYPE), text(&header::CONTENT_ENCODING));
    if head.status.as_u16() != example.status {
        let beginning: String = String::from_utf8_lossy(&answered).chars().take(200).collect();
        return Err(format!("answered {} and not {}: {beginning}", head.status.as_u16(), example.status));
    }
    let got = read(200, content_type, encoding, &answered);
    let wanted = read(200, Some("application/json"), None, example.answer.to_string().as_bytes());
    match divergence::compare(&declared.compare, &wanted, &got) {
        Err(_) => Err("the answer cannot be compared with the example's".to_owned()),
        Ok(comparison) if comparison.diverged => {
            let worst = comparison.worst.map(|worst| format!(" in {}", worst.output)).unwrap_or_default();
            let reason = comparison.reason.map_or("different", divergence::Reason::as_str);
            Err(format!("the answer is another one: {reason}{worst}"))
        }
        Ok(_) => Ok(()),
    }
}

fn head(example: &Example, length: usize) -> Result<http::request::Parts, String> {
    let method = example.method.as_deref().unwrap_or("POST");
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::HOST, HeaderValue::from_static("golden.switchback"));
    for (name, value) in &example.headers {
        let name = HeaderName::try_from(name).map_err(|error| format!("header {name:?}: {error}"))?;
        let value = HeaderValue::try_from(value).map_err(|error| format!("header {name}: {error}"))?;
        headers.insert(name, value);
    }
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = Method::try_from(method).map_err(|error| format!("method {method:?}: {error}"))?;
    head.uri = example.path.parse::<Uri>().map_err(|error| format!("path {:?}: {error}", example.path))?;
    head.headers = headers;
    Ok(head)
}
