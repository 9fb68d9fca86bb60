//! Names in bodies, changed while they stream by.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use serde_json::Value;
use switchback::wire::rewrite::{Editor, RewriteSpec, Rewriter};

use super::{choose, pieces};

/// Path, and content type of request and answer.
const CALLS: [(&str, &str, &str); 6] = [
    ("/v1/chat/completions", "application/json", "application/json"),
    ("/v1/chat/completions", "application/json", "text/event-stream"),
    ("/v2/models/m/infer", "application/json", "application/json"),
    ("/v2/models/m/versions/1", "application/json", "application/json"),
    ("/inference.GRPCInferenceService/ModelInfer", "application/grpc", "application/grpc"),
    ("/inference.GRPCInferenceService/ModelStreamInfer", "application/grpc", "application/grpc"),
];

/// First byte: the call.
pub fn run(data: &[u8]) {
    let (which, body) = choose(data);
    let (path, asked, answered) = CALLS[usize::from(which) % CALLS.len()];
    let edit = |cut: bool| {
        let spec = RewriteSpec {
            model: Some("other".to_owned()),
            model_version: Some("7".to_owned()),
            ..RewriteSpec::default()
        };
        let rewriter = Rewriter::new(&spec).expect("these are names");
        let request = Request::post(path).header(CONTENT_TYPE, asked).header(CONTENT_LENGTH, body.len());
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        let edits = rewriter.request(&mut parts).ok()?;
        let request = edits.body.map(|editor| edited(editor, body, cut));
        let (mut answer, ()) = Response::new(()).into_parts();
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static(answered));
        answer.headers.insert(CONTENT_LENGTH, body.len().into());
        let editor = edits.restore.and_then(|restore| restore.response(&mut answer));
        Some((request, editor.map(|editor| edited(editor, body, cut))))
    };
    let whole = edit(false);
    assert_eq!(whole, edit(true), "what is written depends on how it was cut");
    let Some((Some(Ok(request)), _)) = whole else { return };
    if asked == "application/json"
        && let Ok(mut before) = serde_json::from_slice::<Value>(body)
    {
        let after: Value = serde_json::from_slice(&request).expect("JSON stays JSON");
        let named = before.get("model").is_some_and(Value::is_string);
        if named && after.get("model").is_some_and(|model| model == "other") {
            before["model"] = "other".into();
        }
        assert_eq!(before, after);
    }
}

/// The edited body; `Err` where it cannot be edited.
fn edited(mut editor: Editor, body: &[u8], cut: bool) -> Result<Vec<u8>, ()> {
    let growth = editor.growth();
    let mut out = Vec::new();
    for piece in if cut { pieces(body) } else { vec![body] } {
        editor.push(Bytes::copy_from_slice(piece)).map_err(drop)?;
        while let Some(piece) = editor.pop() {
            out.extend_from_slice(&piece);
        }
    }
    editor.finish();
    while let Some(piece) = editor.pop() {
        out.extend_from_slice(&piece);
    }
    if let Some(growth) = growth {
        let length = body.len() + usize::try_from(growth).unwrap_or(0);
        assert_eq!(out.len(), length, "the length was said wrong");
    }
    Ok(out)
}
