//! Flags as a scenario.
//!
//! There is one reader of scenarios, and flags go through it: what they say is written as a
//! document, and where the reader finds a mistake, its place is called by the flag's name.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::config;
use crate::inference::path::{self, Action, Api, OpenAiCall};
use crate::load::slo::Slo;
use crate::load::spec::Scenario;

/// What the simple cases need.
#[derive(Debug, Default, Args)]
pub(super) struct Flags {
    /// Requests per second to each target (an open loop). Default: 10.
    #[arg(long, allow_hyphen_values = true, value_name = "N")]
    rate: Option<f64>,
    /// For how long. Default: 30s.
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    duration: Option<String>,
    /// How requests are spread: poisson or constant. Default: poisson.
    #[arg(long, value_name = "HOW")]
    arrivals: Option<String>,
    /// This many clients instead of a rate, each waiting for its answer (a closed loop).
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "find_max", "arrivals"])]
    clients: Option<u64>,
    /// Look for the highest rate that holds the goals.
    #[arg(long, conflicts_with = "rate")]
    find_max: bool,
    /// Where that search ends. Default: 10000.
    #[arg(long, allow_hyphen_values = true, value_name = "N", requires = "find_max")]
    max_rate: Option<f64>,
    /// A goal, such as p99<80ms or errors<0.1%. May be given several times.
    #[arg(long, value_name = "GOAL")]
    slo: Vec<String>,
    /// Time at the beginning that is not measured. Default: 1s.
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    warmup: Option<String>,
    /// For one request. Default: 10s.
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    timeout: Option<String>,
    /// How requests are written: v2, v2-binary, grpc, v1, chat, chat-stream or plain. Default: what
    /// the URL's path says.
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The model, where the URL's path does not name it.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// File of inputs: .jsonl, .csv, .npy, or .json with recorded pairs. Default: values made up
    /// from the model's metadata.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// One body for all requests, or a prompt.
    #[arg(long, value_name = "TEXT", conflicts_with = "data")]
    body: Option<String>,
    /// Column or key of --data that holds the expected label.
    #[arg(long, value_name = "NAME", requires = "data")]
    label: Option<String>,
    /// JSON pointer to the class in the answer, to compare with the label; `/a/b:argmax` for a list
    /// of scores.
    #[arg(long, value_name = "POINTER", requires = "label")]
    check_label: Option<String>,
    /// What must be in the answer: POINTER, or POINTER=VALUE. May be given several times.
    #[arg(long, value_name = "CHECK")]
    check: Vec<String>,
    /// Method of plain requests.
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// A header, as NAME:VALUE. May be given several times.
    #[arg(long, short = 'H', value_name = "HEADER")]
    header: Vec<String>,
    /// Two targets to compare: A=URL B=URL, or with a URL in front A=VERSION B=VERSION of one
    /// sidecar, which pins them by `x-switchback-version`.
    #[arg(long, num_args = 2, value_names = ["A=…", "B=…"])]
    compare: Vec<String>,
    /// Watch a process: NAME=PID, or NAME=URL of its metrics page. May be given several times.
    #[arg(long, value_name = "NAME=…")]
    watch: Vec<String>,
    /// Everything random follows from it. Default: 1.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Threads that send. Default: as many as the rate needs.
    #[arg(long, value_name = "N")]
    threads: Option<u64>,
    /// Most requests of the whole test. Default: 10000000.
    #[arg(long, value_name = "N")]
    max_requests: Option<u64>,
}

/// Which flag stands at which place of the document.
const PLACES: [(&str, &str); 22] = [
    ("load.rate", "--rate"),
    ("load.duration", "--duration"),
    ("load.arrivals", "--arrivals"),
    ("load.findMax.arrivals", "--arrivals"),
    ("load.clients", "--clients"),
    ("load.findMax.to", "--max-rate"),
    ("load.findMax.probe", "--duration"),
    ("load", "--slo"),
    ("slos", "--slo"),
    ("warmup", "--warmup"),
    ("limits.timeout", "--timeout"),
    ("limits.threads", "--threads"),
    ("limits.maxRequests", "--max-requests"),
    ("requests[0].format", "--format"),
    ("requests[0].inputs", "--data"),
    ("requests[0].method", "--method"),
    ("requests[0].headers", "--header"),
    ("requests[0].check", "--check"),
    ("requests[0]", "--model"),
    ("compare", "--compare"),
    ("resources", "--watch"),
    ("seed", "--seed"),
];

impl Flags {
    /// The scenario that these flags and a URL mean.
    pub(super) fn scenario(&self, url: Option<&str>) -> Result<Scenario, String> {
        for (flag, rate) in [("--rate", self.rate), ("--max-rate", self.max_rate)] {
            if let Some(rate) = rate.filter(|rate| !rate.is_finite()) {
                return Err(format!(
                    "{flag}: {rate} is no number of requests per second: write one such as 200"
                ));
            }
        }
        let compared = self.compared(url)?;
        let first = match (url, &compared) {
            (Some(url), _) => url,
            (None, Some([a, _])) => a.get("url").and_then(Value::as_str).unwrap_or_default(),
            (None, None) => "",
        };
        let name = if first.is_empty() { "load".to_owned() } else { first.to_owned() };
        let (base, request) = self.request(first)?;
        let mut document = Map::new();
        match compared {
            None => {
                document.insert("target".to_owned(), json!(base));
            }
            Some(targets) => {
                let [a, b] = targets.map(|mut target| {
                    // Both get the same requests: the path stands in the request.
                    if let Some(url) = target.get_mut("url") {
                        *url = json!(split(url.as_str().unwrap_or_default()).0);
                    }
                    target
                });
                document.insert("compare".to_owned(), json!({ "a": a, "b": b }));
            }
        }
        document.insert("requests".to_owned(), json!([request]));
        document.insert("load".to_owned(), self.load());
        self.rest(&mut document)?;
        read(&Value::Object(document), &name)
    }

    /// Two targets, if there are two.
    fn compared(&self, url: Option<&str>) -> Result<Option<[Value; 2]>, String> {
        let [a, b] = self.compare.as_slice() else { return Ok(None) };
        let path_of = |text: &str| {
            let url = text.split_once('=').map(|(_, url)| url).filter(|url| url.contains("://"))?;
            Some(split(url).1).map(|path| if path.is_empty() { "/" } else { path }.to_owned())
        };
        if let (Some(first), Some(second)) = (path_of(a), path_of(b))
            && first != second
        {
            return Err(format!(
                "--compare: both get the same requests, and {first:?} and {second:?} are two: write one path, or a \
                 scenario whose targets have paths of their own"
            ));
        }
        let one = |text: &String, name: &str| {
            let wrong = || format!("--compare {text:?}: write {name}=URL, or behind a URL {name}=VERSION");
            let value = text.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).ok_or_else(wrong)?;
            match (value.contains("://") || value.starts_with("unix:"), url) {
                (true, _) => Ok(json!({ "url": value })),
                (false, Some(url)) => Ok(json!({ "url": url, "version": value })),
                (false, None) => Err(wrong()),
            }
        };
        Ok(Some([one(a, "A")?, one(b, "B")?]))
    }

    /// The target's URL and the kind of request that the URL and flags mean.
    fn request(&self, url: &str) -> Result<(String, Value), String> {
        let (base, path) = split(url);
        let bare = path.split('?').next().unwrap_or_default();
        let api = path::parse(bare);
        let named = match &api {
            Api::V2(call) | Api::V1(call) => call.model.decode().map(|model| model.into_owned()),
            _ => None,
        };
        let version = match &api {
            Api::V2(call) | Api::V1(call) => call.version.and_then(|v| v.decode()).map(|v| v.into_owned()),
            _ => None,
        };
        let guessed = match &api {
            Api::V2(call) if matches!(call.action, Action::Infer | Action::Metadata) => "v2",
            Api::V1(call) if call.action == Action::Predict => "v1",
            Api::OpenAi(OpenAiCall::ChatCompletions) => "chat-stream",
            Api::Grpc(_) => "grpc",
            // A server without a path, and a model.
            _ if self.model.is_some() && matches!(bare, "" | "/") => "v2",
            _ => "plain",
        };
        let format = self.format.as_deref().unwrap_or(guessed);
        let mut request = json!({ "format": format });
        let mut set = |key: &str, value: Value| {
            if let Some(fields) = request.as_object_mut() {
                fields.insert(key.to_owned(), value);
            }
        };
        if let Some(model) = self.model.clone().or(named).filter(|_| format != "plain") {
            set("model", json!(model));
        }
        if let Some(version) = version.filter(|_| format != "plain") {
            set("version", json!(version));
        }
        if format == "plain" && !path.is_empty() {
            set("path", json!(path));
        }
        if let Some(data) = &self.data {
            let folder =
                std::env::current_dir().map_err(|error| format!("--data: no current folder: {error}"))?;
            let mut inputs = json!({ "file": folder.join(data).display().to_string() });
            if let (Some(label), Some(fields)) = (&self.label, inputs.as_object_mut()) {
                fields.insert("label".to_owned(), json!(label));
            }
            set("inputs", inputs);
        }
        if let Some(body) = &self.body {
            set("inputs", json!({ "text": body }));
        }
        if let Some(method) = &self.method {
            set("method", json!(method));
        }
        if !self.header.is_empty() {
            set("headers", Value::Object(self.headers()?));
        }
        if let Some(check) = self.checks() {
            set("check", check);
        }
        Ok((base.to_owned(), request))
    }

    fn headers(&self) -> Result<Map<String, Value>, String> {
        let mut headers = Map::new();
        for header in &self.header {
            let (name, value) =
                header.split_once(':').ok_or_else(|| format!("--header {header:?}: write NAME:VALUE"))?;
            headers.insert(name.trim().to_owned(), json!(value.trim()));
        }
        Ok(headers)
    }

    fn checks(&self) -> Option<Value> {
        if self.check.is_empty() && self.check_label.is_none() {
            return None;
        }
        let mut check = Map::new();
        if !self.check.is_empty() {
            let values = self.check.iter().map(|text| match text.split_once('=') {
                Some((pointer, equals)) => json!({ "pointer": pointer, "equals": equals }),
                None => json!({ "pointer": text }),
            });
            check.insert("values".to_owned(), values.collect());
        }
        if let Some(label) = &self.check_label {
            let (pointer, argmax) =
                label.strip_suffix(":argmax").map_or((label.as_str(), false), |pointer| (pointer, true));
            check.insert("label".to_owned(), json!({ "pointer": pointer, "argmax": argmax }));
        }
        Some(Value::Object(check))
    }

    fn load(&self) -> Value {
        let mut load = Map::new();
        let mut set = |key: &str, value: Value| load.insert(key.to_owned(), value);
        let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        if self.find_max {
            let mut find = Map::new();
            find.extend(text(&self.duration).map(|probe| ("probe".to_owned(), probe)));
            find.extend(text(&self.arrivals).map(|arrivals| ("arrivals".to_owned(), arrivals)));
            find.extend(self.max_rate.map(|rate| ("to".to_owned(), json!(rate))));
            // It begins where it does by default, or at its end where that is lower.
            find.extend(
                self.max_rate.filter(|r| (0.001..10.0).contains(r)).map(|r| ("from".to_owned(), json!(r))),
            );
            set("findMax", Value::Object(find));
            return Value::Object(load);
        }
        match self.clients {
            Some(clients) => set("clients", json!(clients)),
            None => set("rate", json!(self.rate.unwrap_or(10.0))),
        };
        text(&self.duration).map(|duration| set("duration", duration));
        text(&self.arrivals).map(|arrivals| set("arrivals", arrivals));
        Value::Object(load)
    }

    fn rest(&self, document: &mut Map<String, Value>) -> Result<(), String> {
        if !self.slo.is_empty() {
            // Read here already: a place in a list says less than the goal itself.
            for slo in &self.slo {
                Slo::parse(slo).map_err(|error| format!("--slo {error}"))?;
            }
            document.insert("slos".to_owned(), json!(self.slo));
        }
        if let Some(warmup) = &self.warmup {
            document.insert("warmup".to_owned(), json!(warmup));
        }
        if let Some(seed) = self.seed {
            document.insert("seed".to_owned(), json!(seed));
        }
        let mut limits = Map::new();
        limits.extend(self.timeout.as_ref().map(|timeout| ("timeout".to_owned(), json!(timeout))));
        limits.extend(self.threads.map(|threads| ("threads".to_owned(), json!(threads))));
        limits.extend(self.max_requests.map(|most| ("maxRequests".to_owned(), json!(most))));
        if !limits.is_empty() {
            document.insert("limits".to_owned(), Value::Object(limits));
        }
        let mut watched = Vec::new();
        for text in &self.watch {
            let (name, what) = text
                .split_once('=')
                .ok_or_else(|| format!("--watch {text:?}: write NAME=PID, or NAME=URL of a metrics page"))?;
            watched.push(match what.parse::<u32>() {
                Ok(pid) => json!({ "name": name, "pid": pid }),
                Err(_) => json!({ "name": name, "metrics": what }),
            });
        }
        if !watched.is_empty() {
            document.insert("resources".to_owned(), Value::Array(watched));
        }
        Ok(())
    }
}

/// A URL's beginning, and its path with its query.
fn split(url: &str) -> (&str, &str) {
    if url.starts_with("unix:") {
        return (url, "");
    }
    let start = url.find("://").map_or(0, |at| at + 3);
    let path = url.get(start..).and_then(|rest| rest.find(['/', '?'])).map(|at| start + at);
    path.and_then(|at| url.split_at_checked(at)).unwrap_or((url, ""))
}

/// Reads the document that flags were written as. One mistake is one line with the flag's name.
fn read(document: &Value, name: &str) -> Result<Scenario, String> {
    // JSON is YAML.
    config::parse_scenario(&document.to_string(), name, Path::new("")).map_err(|errors| {
        let lines = errors.problems.iter().map(|problem| {
            let at = |(place, _): &&(&str, &str)| {
                let rest = problem.path.strip_prefix(place);
                rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
            };
            let flag = PLACES.iter().find(at).map_or("URL", |(_, flag)| flag);
            // Keys are nothing to whoever wrote flags.
            let (flag, fix) = match problem.fix.as_str() {
                "add the key \"model\" here" => ("--model", "name it, or write it in the URL's path"),
                "add `inputs` with a `file` or a `text`" => ("--data", "give a file of them, or a --body"),
                fix => (flag, fix),
            };
            match fix {
                "" => format!("{flag}: {}", problem.message),
                fix => format!("{flag}: {}: {fix}", problem.message),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    })
}

mod change;
#[cfg(test)]
mod tests;
