//! Pairs that are kept, and what is taken out of them.

use super::*;
use crate::divergence::pairs::{Body, Excerpt, KeptPair, LeftOut, PairBook, PairSpec, Seen};
use crate::inference::answer::{Content, RawRequest, read_request};

/// A pair of these bodies, JSON unless the type says otherwise.
struct Pair {
    request: Vec<u8>,
    asked: Content,
    bodies: [Vec<u8>; 2],
    answers: [Answer; 2],
    comparison: Comparison,
}

impl Pair {
    fn new(path: &str, kind: &str, request: &str, primary: &str, shadow: &str) -> Self {
        let raw = RawRequest {
            api: path::parse(path),
            content_type: Some("application/json"),
            content_encoding: None,
            inference_header_length: None,
            body: request.as_bytes(),
        };
        let answers = [primary, shadow].map(|body| of_type(path, kind, body.as_bytes()));
        Self {
            request: request.into(),
            asked: read_request(&raw, &Limits::default()),
            bodies: [primary.into(), shadow.into()],
            comparison: auto(&answers[0], &answers[1]),
            answers,
        }
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            at: 1,
            model: "m",
            primary_version: "v1",
            shadow_version: "v2",
            control: false,
            request: Body { bytes: &self.request, content: &self.asked },
            primary: Body { bytes: &self.bodies[0], content: &self.answers[0].content },
            shadow: Body { bytes: &self.bodies[1], content: &self.answers[1].content },
            comparison: &self.comparison,
        }
    }
}

fn keep(spec: PairSpec, pair: &Pair) -> Option<KeptPair> {
    PairBook::new(spec).offer(&pair.seen()).map(|kept| (*kept).clone())
}

fn redact(pointers: &[&str]) -> PairSpec {
    PairSpec { redact: pointers.iter().map(|&pointer| pointer.to_owned()).collect(), ..PairSpec::default() }
}

fn scores(score: u32) -> Pair {
    Pair::new(OTHER, "application/json", r#"{"q":1}"#, r#"{"s":0}"#, &format!(r#"{{"s":{score}}}"#))
}

#[test]
fn the_latest_and_the_worst_are_kept_up_to_their_number() {
    let mut book = PairBook::new(PairSpec { latest: 2, worst: 2, ..PairSpec::default() });
    // A field too many in the second is graver than a value, and no number at all further off than any.
    for shadow in [r#"{"s":1}"#, r#"{"s":1,"t":2}"#, r#"{"s":"x"}"#, r#"{"s":2}"#] {
        let pair = Pair::new(OTHER, "application/json", "{}", r#"{"s":0}"#, shadow);
        assert!(book.offer(&pair.seen()).is_some());
    }
    let ids = |pairs: Vec<u64>| pairs;
    assert_eq!(ids(book.latest().map(|pair| pair.id).collect()), [4, 3]);
    assert_eq!(ids(book.worst().map(|pair| pair.id).collect()), [2, 3]);
    assert_eq!(book.find(2).map(|pair| pair.id), Some(2));
    assert!(book.find(9).is_none());
    book.clear();
    assert_eq!((book.latest().count(), book.worst().count(), book.bytes()), (0, 0, 0));
    assert_eq!(book.offer(&scores(1).seen()).map(|pair| pair.id), Some(5));
}

#[test]
fn what_agrees_and_what_is_switched_off_is_not_kept() {
    assert!(keep(PairSpec::default(), &scores(1)).is_some());
    assert!(keep(PairSpec::default(), &scores(0)).is_none());
    assert!(keep(PairSpec { enabled: false, ..PairSpec::default() }, &scores(1)).is_none());
}

#[test]
fn bytes_are_bounded_by_body_and_all_together() {
    let long = format!(r#"{{"s":"{}"}}"#, "é".repeat(4000));
    let pair = Pair::new(OTHER, "application/json", &long, r#"{"s":0}"#, &long);
    let spec = PairSpec {
        max_body_bytes: 1000,
        max_bytes: 50_000,
        latest: 1000,
        worst: 1000,
        ..PairSpec::default()
    };
    let mut book = PairBook::new(spec);
    for _ in 0..100 {
        let kept = book.offer(&pair.seen()).unwrap();
        assert!(kept.request.truncated && kept.request.text.as_ref().unwrap().len() <= 1000);
        assert_eq!(kept.request.bytes, u64::try_from(long.len()).unwrap());
        assert!(book.bytes() <= 50_000);
    }
    assert!(book.latest().count() > 3 && book.worst().count() > 3);
}

#[test]
fn pairs_are_shown_as_people_read_them() {
    let stream = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let chat = Pair::new(CHAT, "text/event-stream", r#"{"model":"m"}"#, &stream("yes"), &stream("never"));
    let kept = keep(PairSpec::default(), &chat).unwrap();
    assert_eq!(kept.request.text.as_deref(), Some(r#"{"model":"m"}"#));
    assert_eq!(
        kept.shadow.text.as_deref(),
        Some(r#"{"choices":[{"finish_reason":null,"index":0,"message":{"content":"never"}}]}"#)
    );
    let json = serde_json::to_value(&kept).unwrap();
    assert_eq!((&json["primaryVersion"], &json["shadow"]["kind"]), (&"v1".into(), &"chat".into()));
    let plain = Pair::new(OTHER, "text/plain", "", "0.1", "0.2");
    let kept = keep(PairSpec::default(), &plain).unwrap();
    assert_eq!((kept.request.text.as_deref(), kept.shadow.text.as_deref()), (Some(""), Some("0.2")));
}

#[test]
fn values_are_taken_out_wherever_a_pointer_fits() {
    let pair = Pair::new(
        OTHER,
        "application/json",
        r#"{"rows":[{"ssn":"111","x":1},{"ssn":"222","x":2}]}"#,
        r#"{"who":{"name":"ann"},"s":1}"#,
        r#"{"who":{"name":"bob"},"s":1}"#,
    );
    let kept = keep(redact(&["/rows/*/ssn", "/who"]), &pair).unwrap();
    let shown = serde_json::to_string(&kept).unwrap();
    for secret in ["111", "222", "ann", "bob", "name"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert_eq!(
        kept.request.text.as_deref(),
        Some(r#"{"rows":[{"ssn":"[redacted]","x":1},{"ssn":"[redacted]","x":2}]}"#)
    );
    assert_eq!(kept.comparison.worst.unwrap().at.as_deref(), Some("[redacted]"));
}

#[test]
fn places_within_what_is_hidden_are_not_told() {
    let kept = |spec: &str, path, primary: &str, shadow: &str, pointer| {
        let pair = Pair::new(path, "application/json", "{}", primary, shadow);
        let comparison = compare(&super::spec(spec), &pair.answers[0], &pair.answers[1]).unwrap();
        let worst = keep(redact(&[pointer]), &Pair { comparison, ..pair }).unwrap().comparison.worst.unwrap();
        (worst.output, worst.at)
    };
    let rule = r#"{"outputs":[{"output":"/who","compare":{"json":{}}}]}"#;
    let (one, other) = (r#"{"who":{"ann":{"x":1}}}"#, r#"{"who":{"ann":{"x":2}}}"#);
    let hidden = Some("[redacted]".to_owned());
    assert_eq!(kept(rule, OTHER, one, other, "/who"), ("[redacted]".to_owned(), hidden.clone()));
    assert_eq!(kept(rule, OTHER, one, other, "/who/ann"), ("/who".to_owned(), hidden.clone()));
    assert_eq!(kept(rule, OTHER, one, other, "/else"), ("/who".to_owned(), Some("/ann/x".to_owned())));
    let rows = |x: u32| format!(r#"{{"predictions":[{{"who":{{"ann":{x},"id":"a"}}}}]}}"#);
    let named = kept("{}", PREDICT, &rows(1), &rows(2), "/predictions/*/who");
    assert_eq!(named, ("who".to_owned(), hidden));
}

#[test]
fn what_pointers_cannot_reach_is_not_kept_once_there_is_one() {
    let left_out = |excerpt: &Excerpt| (excerpt.text.clone(), excerpt.left_out);
    let stream = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    for (kind, primary, shadow) in [
        ("text/plain", "0.1".to_owned(), "0.2".to_owned()),
        ("text/event-stream", stream("yes"), stream("never")),
        ("application/json", "{\"secret\"".to_owned(), "{\"secret\":1".to_owned()),
    ] {
        let pair = Pair::new(CHAT, kind, "", &primary, &shadow);
        let kept = keep(redact(&["/other"]), &pair).unwrap();
        assert_eq!(left_out(&kept.shadow), (None, Some(LeftOut::Redaction)), "{kind}");
        assert!(!serde_json::to_string(&kept).unwrap().contains("secret"), "{kind}");
        assert!(keep(PairSpec::default(), &pair).unwrap().shadow.text.is_some(), "{kind}");
    }
    let binary = Pair::new(OTHER, "image/png", "", "a", "b");
    let mut binary = Pair { bodies: [vec![0xff], vec![0xfe]], ..binary };
    assert_eq!(left_out(&keep(PairSpec::default(), &binary).unwrap().shadow), (None, Some(LeftOut::Binary)));
    // Whoever wrote something that is no pointer wanted something hidden.
    binary = scores(1);
    let kept = keep(redact(&["s"]), &binary).unwrap();
    assert_eq!(kept.shadow.text.as_deref(), Some("\"[redacted]\""));
}

#[test]
fn a_pointer_into_binary_tensors_takes_out_all_their_values() {
    let header =
        r#"{"outputs":[{"name":"y","datatype":"UINT8","shape":[1,2],"parameters":{"binary_data_size":2}}]}"#;
    let of = |values: [u8; 2]| {
        let body = [header.as_bytes(), &values].concat();
        let raw = RawAnswer {
            api: path::parse(INFER),
            status: 200,
            grpc: None,
            content_type: Some("application/octet-stream"),
            content_encoding: None,
            inference_header_length: Some(header.len()),
            body: &body,
            chunk_times: &[],
        };
        (read(&raw, &Limits::default()), body)
    };
    let ((primary, primary_body), (shadow, shadow_body)) = (of([101, 102]), of([103, 104]));
    let comparison = auto(&primary, &shadow);
    let base = scores(1);
    let seen = Seen {
        primary: Body { bytes: &primary_body, content: &primary.content },
        shadow: Body { bytes: &shadow_body, content: &shadow.content },
        comparison: &comparison,
        ..base.seen()
    };
    let shown = |spec| PairBook::new(spec).offer(&seen).unwrap().shadow.text.clone().unwrap();
    assert!(shown(PairSpec::default()).contains("[103,104]"));
    assert!(shown(redact(&["/other"])).contains("[103,104]"));
    for pointer in ["/outputs/0/data", "/outputs/*/data/0/1", "/outputs/0", "/outputs", ""] {
        assert!(!shown(redact(&[pointer])).contains("103"), "{pointer}");
    }
}
