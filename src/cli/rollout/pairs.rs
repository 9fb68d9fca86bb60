//! `rollout pairs`: answers of the two versions that differ, to look at.

use clap::Args;
use serde_json::Value;

use super::super::exit::{Exit, Failure};
use super::super::format::{self, Format, markdown};
use super::super::say;
use super::super::server::{Server, segment};
use super::show::moment;
use super::target;

/// Which pairs.
#[derive(Debug, Args)]
pub(super) struct PairsArgs {
    /// The model.
    model: String,
    /// Those that differ most, instead of the latest.
    #[arg(long)]
    worst: bool,
    /// How many, at most 100.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
}

/// Shows them.
pub(super) fn pairs(server: &Server, args: &PairsArgs, form: Format) -> Result<Exit, Failure> {
    let which = if args.worst { "worst" } else { "latest" };
    let path = format!("/models/{}/pairs?which={which}&limit={}", segment(&args.model), args.limit);
    let pairs = target::list(server.get(&path)?, "pairs")?;
    let shown = match form {
        Format::Text if pairs.is_empty() => "no pair that differs was kept\n".to_owned(),
        Format::Text => pairs.iter().map(text).collect::<Vec<_>>().join("\n"),
        Format::Markdown => pairs.iter().map(section).collect::<Vec<_>>().join("\n"),
        Format::Json => format::json(&pairs)?,
        Format::Yaml => format::yaml(&pairs)?,
        Format::Junit => return Err(form.unfit("text, json, yaml or markdown")),
    };
    Ok(if say::result(&shown) { Exit::Done } else { Exit::Error })
}

/// A part of a pair, by the keys that lead to it.
fn at<'a>(pair: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(pair, |value, key| value.get(key)).filter(|value| !value.is_null())
}

fn word(pair: &Value, path: &[&str]) -> String {
    match at(pair, path) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "-".to_owned(),
    }
}

/// Which pair, and how it differs.
fn head(pair: &Value) -> String {
    let when = at(pair, &["at"]).and_then(Value::as_u64).map(moment).unwrap_or_default();
    let mut line = format!(
        "pair {} at {when}: {} answered, {} got the copy",
        word(pair, &["id"]),
        word(pair, &["primaryVersion"]),
        word(pair, &["shadowVersion"])
    );
    if at(pair, &["control"]) == Some(&Value::Bool(true)) {
        line.push_str(" (noise control)");
    }
    line
}

fn difference(pair: &Value) -> String {
    let worst = |key| word(pair, &["comparison", "worst", key]);
    let mut line = format!(
        "{} in {} by {}",
        word(pair, &["comparison", "reason"]),
        worst("output"),
        worst("comparator")
    );
    if at(pair, &["comparison", "worst", "at"]).is_some() {
        line.push_str(&format!(", first at {}", worst("at")));
    }
    let measures = at(pair, &["comparison", "worst", "measures"]).and_then(Value::as_object);
    for (name, value) in measures.into_iter().flatten().filter(|(_, value)| value.as_u64() != Some(0)) {
        line.push_str(&format!(", {name} {value}"));
    }
    line
}

fn excerpts(pair: &Value) -> [(&'static str, String); 3] {
    ["request", "primary", "shadow"].map(|part| {
        let excerpt = match at(pair, &[part, "text"]) {
            Some(Value::String(text)) => {
                let more = at(pair, &[part, "truncated"]) == Some(&Value::Bool(true));
                format!("{text}{}", if more { " …" } else { "" })
            }
            _ => format!(
                "not shown ({}), {} bytes",
                word(pair, &[part, "leftOut"]),
                word(pair, &[part, "bytes"])
            ),
        };
        // Bodies are foreign text: nothing in them may move a terminal's cursor.
        (part, excerpt.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect())
    })
}

fn text(pair: &Value) -> String {
    let mut text = format!("{}\n  {}\n", head(pair), difference(pair));
    for (part, excerpt) in excerpts(pair) {
        text.push_str(&format!("  {part:<8} {}\n", excerpt.replace('\n', "\n           ")));
    }
    text
}

fn section(pair: &Value) -> String {
    let mut text = format!("## {}\n\n{}\n", markdown(&head(pair)), markdown(&difference(pair)));
    for (part, excerpt) in excerpts(pair) {
        text.push_str(&format!("\n{part}\n\n    {}\n", excerpt.replace('\n', "\n    ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pair_is_shown_with_what_differs_and_cannot_write_to_the_terminal() {
        let pair = json!({
            "id": 7, "at": 1_000, "model": "m", "primaryVersion": "v1", "shadowVersion": "v2", "control": false,
            "request": {"kind": "json", "bytes": 9, "text": "{\"x\": 1}", "truncated": true, "leftOut": null},
            "primary": {"kind": "json", "bytes": 2, "text": "0\u{1b}[2J", "truncated": false, "leftOut": null},
            "shadow": {"kind": "bytes", "bytes": 5, "text": null, "truncated": false, "leftOut": "binary"},
            "comparison": {"diverged": true, "reason": "value", "worst": {
                "output": "probabilities", "comparator": "numeric", "reason": "value", "at": "3",
                "measures": {"compared": 4, "different": 1, "nonFinite": 0, "maxAbsolute": 0.5}}},
        });
        assert_eq!(
            text(&pair),
            "pair 7 at 1970-01-01T00:00:01.000Z: v1 answered, v2 got the copy\n  value in probabilities by numeric, first at 3, compared 4, different 1, maxAbsolute 0.5\n  request  {\"x\": 1} …\n  primary  0 [2J\n  shadow   not shown (binary), 5 bytes\n"
        );
        // An answer of another time is shown as far as it goes.
        assert!(text(&json!({})).starts_with("pair - at : - answered"));
    }
}
