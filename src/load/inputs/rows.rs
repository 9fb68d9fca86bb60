//! Files of inputs, as rows.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::npy::{self, Array};
use super::{InputError, LONGEST_FILE, MOST_ROWS};
use crate::load::spec::FileKind;

/// What one row holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// A JSON value; a line of a CSV file is an object.
    pub value: Value,
    /// Names of columns in the order of the file, where it has columns.
    pub columns: Option<std::sync::Arc<[String]>>,
    /// The expected label.
    pub label: Option<String>,
    /// Line of the file.
    pub line: usize,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Rows {
    /// Rows; never empty.
    Rows(Vec<Row>),
    /// An array whose first dimension counts the rows.
    Array {
        /// Dimensions of one row.
        shape: Vec<i64>,
        /// How many rows.
        count: usize,
        /// All values.
        data: crate::inference::tensor::TensorData,
    },
}

/// Reads a file of inputs. Blocks. `label`: the column or key that holds the expected label, which
/// is taken out of the row.
///
/// # Errors
/// [`InputError`] with the file, the line, what is wrong and what to do.
pub fn read_file(path: &Path, kind: FileKind, label: Option<&str>) -> Result<Rows, InputError> {
    let name = path.display().to_string();
    let bytes = bytes(path)?;
    if bytes.is_empty() {
        return Err(InputError::new(name, "the file is empty: it needs at least one row"));
    }
    let rows = match kind {
        FileKind::JsonLines => json_lines(&name, &bytes, label)?,
        FileKind::Csv => csv(&name, &bytes, label)?,
        FileKind::Pairs => pairs(&name, &bytes)?,
        FileKind::Npy => return array(&name, &bytes),
    };
    match rows.is_empty() {
        true => Err(InputError::new(name, "the file holds no row: it needs at least one")),
        false => Ok(Rows::Rows(rows)),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, InputError> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => format!("it cannot be read: {error}"),
        };
        InputError::new(name.clone(), why)
    };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > LONGEST_FILE {
        true => Err(InputError::new(name, "the file is longer than 256 MiB: take a sample of it")),
        false => Ok(bytes),
    }
}

fn json_lines(name: &str, bytes: &[u8], label: Option<&str>) -> Result<Vec<Row>, InputError> {
    let mut rows = Vec::new();
    for (at, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line_number = at + 1;
        if line.trim_ascii().is_empty() || rows.len() >= MOST_ROWS {
            continue;
        }
        let wrong = |why: String| InputError::new(format!("{name}:{line_number}"), why);
        let mut value: Value =
            serde_json::from_slice(line).map_err(|error| wrong(format!("the line is no JSON: {error}")))?;
        let label = label.map(|key| taken(&mut value, key).map_err(wrong)).transpose()?;
        rows.push(Row { value: unwrapped(value), columns: None, label, line: line_number });
    }
    Ok(rows)
}

/// The body of a row that holds nothing else: `{"request": BODY}`.
fn unwrapped(mut value: Value) -> Value {
    let alone = value.as_object().is_some_and(|fields| fields.len() == 1);
    match value.get_mut("request") {
        Some(request) if alone => request.take(),
        _ => value,
    }
}

/// The label under `key`, taken out of the row.
fn taken(value: &mut Value, key: &str) -> Result<String, String> {
    match value.as_object_mut().and_then(|fields| fields.remove(key)) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Ok(other.to_string()),
        None => Err(format!("the row has no label {key:?}")),
    }
}

fn csv(name: &str, bytes: &[u8], label: Option<&str>) -> Result<Vec<Row>, InputError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let wrong = |line: u64, why: String| InputError::new(format!("{name}:{line}"), why);
    let columns: Vec<String> = reader
        .headers()
        .map_err(|error| wrong(1, format!("the first line must name the columns: {error}")))?
        .iter()
        .map(str::to_owned)
        .collect();
    if let Some(label) = label
        && !columns.iter().any(|column| column == label)
    {
        return Err(wrong(
            1,
            format!("there is no column {label:?} for the label, only {}", columns.join(", ")),
        ));
    }
    let names: std::sync::Arc<[String]> =
        columns.iter().filter(|column| Some(column.as_str()) != label).cloned().collect();
    let mut rows = Vec::new();
    for record in reader.records().take(MOST_ROWS) {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            wrong(line, format!("the line is not like the first one: {error}"))
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let mut fields = Map::new();
        let mut expected = None;
        for (column, cell) in columns.iter().zip(record.iter()) {
            match Some(column.as_str()) == label {
                true => expected = Some(cell.to_owned()),
                false => {
                    fields.insert(column.clone(), cell_value(cell));
                }
            }
        }
        rows.push(Row {
            value: Value::Object(fields),
            columns: Some(names.clone()),
            label: expected,
            line: usize::try_from(line).unwrap_or(0),
        });
    }
    Ok(rows)
}

/// A number or truth value where it reads as one, otherwise text.
fn cell_value(cell: &str) -> Value {
    match serde_json::from_str::<Value>(cell) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        // `+1`, `.5` and `1.` are numbers to everybody else.
        _ => match cell.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
            Some(number) => Value::Number(number),
            None => Value::String(cell.to_owned()),
        },
    }
}

/// Requests of recorded pairs: the admin API's document, or a list of pairs. Those that were cut
/// short, or hide values, cannot be sent again and are left out.
///
/// # Errors
/// [`InputError`] when `bytes` are none, or no pair can be used.
pub fn pairs(name: &str, bytes: &[u8]) -> Result<Vec<Row>, InputError> {
    let wrong = |why: String| InputError::new(name, why);
    let mut document: Value =
        serde_json::from_slice(bytes).map_err(|error| wrong(format!("it is no JSON: {error}")))?;
    let list = match document.get_mut("pairs") {
        Some(pairs) => pairs.take(),
        None => document,
    };
    let Value::Array(list) = list else {
        return Err(wrong(
            "it is no list of pairs: write what `switchback rollout pairs --output json` gives".into(),
        ));
    };
    let found = list.len();
    let usable = |pair: &Value| {
        let request = pair.get("request")?;
        let text = request.get("text")?.as_str().filter(|text| !text.contains("[redacted]"))?;
        let whole = request.get("truncated")? == &Value::Bool(false);
        serde_json::from_str::<Value>(text).ok().filter(|_| whole)
    };
    let rows: Vec<Row> = list
        .iter()
        .take(MOST_ROWS)
        .enumerate()
        .filter_map(|(at, pair)| Some(Row { value: usable(pair)?, columns: None, label: None, line: at + 1 }))
        .collect();
    match (rows.is_empty(), found) {
        (false, _) => Ok(rows),
        (true, 0) => Err(wrong("no pair is kept: pairs are recorded while a shadow's answers differ".into())),
        (true, n) => Err(wrong(format!(
            "none of the {n} pairs holds a whole request: they were cut short (compare.pairs.maxBodyBytes) or hide values"
        ))),
    }
}

fn array(name: &str, bytes: &[u8]) -> Result<Rows, InputError> {
    let Array { shape, data } = npy::read(bytes).map_err(|why| InputError::new(name, why))?;
    let (count, shape) = match shape.split_first() {
        Some((count, rest)) => (usize::try_from(*count).unwrap_or(0), rest.to_vec()),
        None => (1, Vec::new()),
    };
    match count {
        0 => Err(InputError::new(name, "the array has no row: it needs at least one")),
        count => Ok(Rows::Array { shape, count, data }),
    }
}

/// Reads recorded times of arrival: a number of seconds per line, alone, or the first column or
/// the key `at`. They are counted from the first one, divided by `speed`. Blocks.
///
/// # Errors
/// [`InputError`] with the line, what is wrong and what to do.
pub fn trace(path: &Path, speed: f64) -> Result<Vec<Duration>, InputError> {
    let name = path.display().to_string();
    let bytes = bytes(path)?;
    let mut times = Vec::new();
    for (at, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let found = match text.strip_prefix('{') {
            Some(_) => serde_json::from_str::<Value>(text).ok().and_then(|value| value.get("at")?.as_f64()),
            None => text.split(',').next().and_then(|first| first.trim().parse::<f64>().ok()),
        };
        match found.filter(|seconds| seconds.is_finite()) {
            Some(seconds) => times.push(seconds),
            // The first line may name the columns.
            None if times.is_empty() && at == 0 => {}
            None => {
                let place = format!("{name}:{}", at + 1);
                let message = "the line is no time: write seconds such as 12.25, or {\"at\": 12.25}";
                return Err(InputError::new(place, message));
            }
        }
        if times.len() > MOST_TIMES {
            return Err(InputError::new(
                name,
                format!("the trace has more than {MOST_TIMES} requests: cut it"),
            ));
        }
    }
    times.sort_by(f64::total_cmp);
    let Some(first) = times.first().copied() else {
        return Err(InputError::new(name, "the trace is empty: it needs at least one time"));
    };
    let at = |time: f64| Duration::try_from_secs_f64((time - first) / speed).unwrap_or(Duration::MAX);
    Ok(times.into_iter().map(at).collect())
}

/// Most requests of a trace.
const MOST_TIMES: usize = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(name: &str, text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn rows(text: &str, kind: FileKind, label: Option<&str>) -> Result<Vec<Row>, String> {
        let (_folder, path) = file("rows", text);
        match read_file(&path, kind, label) {
            Ok(Rows::Rows(rows)) => Ok(rows),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error
                .to_string()
                .replace(path.parent().unwrap().to_str().unwrap(), "")
                .replace("/rows", "rows")),
        }
    }

    #[test]
    fn lines_of_json_and_columns_become_rows_with_labels() {
        let json =
            rows("{\"x\":[1,2],\"y\":3}\n\n{\"x\":[3,4],\"y\":\"b\"}\n", FileKind::JsonLines, Some("y"))
                .unwrap();
        assert_eq!(json.len(), 2);
        assert_eq!(
            (json[1].value.clone(), json[1].label.as_deref(), json[1].line),
            (json!({"x": [3, 4]}), Some("b"), 3)
        );
        let wrapped =
            rows("{\"request\":{\"inputs\":[]},\"y\":1}\n", FileKind::JsonLines, Some("y")).unwrap();
        assert_eq!(wrapped[0].value, json!({"inputs": []}));
        let csv = rows("a, b,class\n1,x,7\n.5,\"y,z\",8\n", FileKind::Csv, Some("class")).unwrap();
        assert_eq!(csv[1].value, json!({"a": 0.5, "b": "y,z"}));
        assert_eq!((csv[1].label.as_deref(), csv[1].line), (Some("8"), 3));
        assert_eq!(csv[0].columns.as_deref().unwrap(), ["a", "b"]);
    }

    #[test]
    fn every_mistake_names_its_line() {
        for (text, kind, label, part) in [
            ("", FileKind::Csv, None, "rows: the file is empty"),
            ("\n\n", FileKind::JsonLines, None, "holds no row"),
            ("a,b\n", FileKind::Csv, None, "holds no row"),
            ("{}\n{", FileKind::JsonLines, None, "rows:2: the line is no JSON"),
            ("{}", FileKind::JsonLines, Some("y"), "rows:1: the row has no label \"y\""),
            ("a,b\n1\n", FileKind::Csv, None, "rows:2: the line is not like the first"),
            ("a,b\n1,2\n", FileKind::Csv, Some("c"), "no column \"c\""),
            ("{", FileKind::Pairs, None, "no JSON"),
            ("{}", FileKind::Pairs, None, "no list of pairs"),
            ("[]", FileKind::Pairs, None, "no pair is kept"),
            (r#"[{"request":{"text":"{","truncated":true}}]"#, FileKind::Pairs, None, "none of the 1 pairs"),
        ] {
            let said = rows(text, kind, label).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
        let missing = read_file(Path::new("/no/such"), FileKind::Csv, None).unwrap_err();
        assert_eq!(missing.to_string(), "/no/such: there is no such file");
    }

    #[test]
    fn whole_requests_of_pairs_are_used() {
        let text = r#"{"pairs":[
            {"request":{"text":"{\"inputs\":[]}","truncated":false}},
            {"request":{"text":"{\"x\":\"[redacted]\"}","truncated":false}},
            {"request":{"text":null,"truncated":false}}]}"#;
        let found = rows(text, FileKind::Pairs, None).unwrap();
        assert_eq!(found.iter().map(|row| row.value.clone()).collect::<Vec<_>>(), [json!({"inputs": []})]);
    }

    #[test]
    fn a_trace_is_sorted_counted_from_its_first_and_sped_up() {
        let (_folder, path) = file("trace", "at,what\n12.5,x\n10.0,y\n{\"at\": 11}\n");
        let times = trace(&path, 2.0).unwrap();
        assert_eq!(times, [0, 500, 1250].map(Duration::from_millis));
        let (_folder, path) = file("trace", "1\nx\n");
        assert!(trace(&path, 1.0).unwrap_err().to_string().contains("trace:2: the line is no time"));
        let (_folder, path) = file("trace", "");
        assert!(trace(&path, 1.0).unwrap_err().to_string().contains("empty"));
    }
}
