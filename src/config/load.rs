//! From file or text to a checked configuration.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use crate::base::ModelName;
use crate::control::rollouts::spec::RolloutSpec;
use crate::load::spec::Scenario;
use crate::routing::spec::VersionSpec;

use super::build::{build, load_test, lone_version};
use super::problem::{At, ConfigErrors, Report};
use super::raw::{LoadTest, Root, Version};
use super::read::{Read, place};
use super::spec::Config;
use super::tree::{self, Entry, Kind, Mark, Node};

/// Reads and checks the configuration at `path`. Relative paths in it start at its folder.
/// Blocks: it reads the file and looks whether the files it names are there.
///
/// # Errors
/// [`ConfigErrors`] with every mistake that can be found.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let name = path.display().to_string();
    let text = text(path).map_err(|(line, column, message, fix)| {
        let mut report = Report::new(&name);
        report.wrong(&At { line, column, ..At::default() }, message, fix);
        report.refuse()
    })?;
    read(&name, &text, path.parent().unwrap_or(Path::new("")))
}

/// Checks a configuration that is `text`, called `config` in messages. Relative paths in it start at
/// `base`. Blocks as [`load`] does.
///
/// # Errors
/// [`ConfigErrors`] with every mistake that can be found.
pub fn parse(text: &str, base: &Path) -> Result<Config, ConfigErrors> {
    read("config", text, base)
}

/// Reads and checks the scenario of a load test at `path`. Relative paths in it start at its folder.
/// Blocks: it reads the file, and looks whether the files it names are there.
///
/// # Errors
/// [`ConfigErrors`] with every mistake that can be found.
pub fn load_scenario(path: &Path) -> Result<Scenario, ConfigErrors> {
    let name = path.display().to_string();
    let text = text(path).map_err(|(line, column, message, fix)| {
        let mut report = Report::new(&name);
        report.wrong(&At { line, column, ..At::default() }, message, fix);
        report.refuse()
    })?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    scenario(&name, &stem, &text, path.parent().unwrap_or(Path::new("")))
}

/// Checks a scenario of a load test that is `text`, called `scenario` in messages; `name` is what
/// the test is called unless it says so. Relative paths in it start at `base`. Blocks as
/// [`load_scenario`] does.
///
/// # Errors
/// [`ConfigErrors`] with every mistake that can be found.
pub fn parse_scenario(text: &str, name: &str, base: &Path) -> Result<Scenario, ConfigErrors> {
    scenario("scenario", name, text, base)
}

fn scenario(file: &str, name: &str, text: &str, base: &Path) -> Result<Scenario, ConfigErrors> {
    let mut report = Report::new(file);
    let found = tree::parse(text, &mut report)
        .and_then(|node| LoadTest::read(&node, &place(String::new(), node.mark, &node), &mut report))
        .map(|raw| load_test(&raw, name, base, &mut report));
    Ok(report.finish(found)?.0)
}

/// Checks one version of `model`, called `version` in messages: YAML or JSON with the keys that a
/// version has in a configuration, without `weight` and `role`. It stands by and gets no traffic.
/// Relative paths in it start at `base`. Blocks as [`load`] does.
///
/// # Errors
/// [`ConfigErrors`] with every mistake that can be found. A model file that is not there is one of
/// them: unlike that of a configuration, it is wanted now.
pub fn parse_version(text: &str, model: &ModelName, base: &Path) -> Result<VersionSpec, ConfigErrors> {
    let mut report = Report::new("version");
    let spec = tree::parse(text, &mut report)
        .and_then(|node| Version::read(&node, &place(String::new(), node.mark, &node), &mut report))
        .and_then(|raw| lone_version(&raw, model, base, &mut report));
    report.promote_warnings();
    Ok(report.finish(spec)?.0)
}

/// Checks the policy of a rollout of `model` on its own, called `policy` in messages: YAML or JSON with
/// what stands under `rollout` in a configuration, without `candidate`. `sticky`: whether the model
/// keeps keys on one version. Relative paths in it start at `base`. Blocks as [`load`] does.
///
/// # Errors
/// [`ConfigErrors`] with every mistake that can be found.
pub fn parse_policy(
    text: &str,
    model: &ModelName,
    sticky: bool,
    base: &Path,
) -> Result<RolloutSpec, ConfigErrors> {
    let mut report = Report::new("policy");
    let spec = tree::parse(text, &mut report).and_then(|mut node| {
        let at = At { line: node.mark.line, column: node.mark.column, ..At::default() };
        if matches!(node.kind, Kind::Null) {
            report.wrong(&at, "there is no policy", "write at least `steps`");
            return None;
        }
        if let Kind::Map(entries) = &mut node.kind {
            for entry in entries.extract_if(.., |entry| entry.key == "candidate") {
                let at = place("candidate".to_owned(), entry.value.mark, &entry.value);
                report.wrong(&at, "a policy on its own has no candidate", "remove it: the start names one");
            }
        }
        let root = around(node, model, sticky);
        let root = Root::read(&root, &place(String::new(), root.mark, &root), &mut report)?;
        build(&root, base, String::new(), &mut report).rollouts.into_iter().next()
    });
    let outside = |mut errors: ConfigErrors| {
        for problem in errors.problems.iter_mut().chain(&mut errors.warnings) {
            let within = problem.path.strip_prefix("models[0].rollout").unwrap_or(&problem.path);
            problem.path = within.trim_start_matches('.').to_owned();
        }
        errors
    };
    Ok(report.finish(spec).map_err(outside)?.0)
}

/// A whole configuration around a policy: there is one reader of policies, and it reads models.
fn around(policy: Node, model: &ModelName, sticky: bool) -> Node {
    let mark = policy.mark;
    let text = |text: &str| Node { mark, kind: Kind::Scalar { text: text.to_owned(), plain: false } };
    let list = |items| Node { mark, kind: Kind::List(items) };
    let stable =
        map(mark, [("name", text("stable")), ("upstream", map(mark, [("url", text("http://h:1"))]))]);
    let mut model =
        vec![("name", text(model.as_str())), ("versions", list(vec![stable])), ("rollout", policy)];
    if sticky {
        model.push(("sticky", map(mark, [("header", text("x-key"))])));
    }
    map(mark, [("models", list(vec![map(mark, model)]))])
}

fn map<'k>(mark: Mark, entries: impl IntoIterator<Item = (&'k str, Node)>) -> Node {
    let entry = |(key, value): (&str, Node)| Entry { key: key.to_owned(), mark, value };
    Node { mark, kind: Kind::Map(entries.into_iter().map(entry).collect()) }
}

type Unreadable = (u32, u32, String, &'static str);

fn text(path: &Path) -> Result<String, Unreadable> {
    let failed = |error: std::io::Error| (0, 0, format!("cannot be read: {error}"), "");
    let mut bytes = Vec::new();
    // One byte more than may be is enough to refuse the file, however long it is.
    let most = u64::try_from(tree::LONGEST + 1).unwrap_or(u64::MAX);
    File::open(path).map_err(failed)?.take(most).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > tree::LONGEST {
        return Err((0, 0, "is larger than 1 MiB".to_owned(), "split it over several sidecars"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|b| **b == b'\n').count() + 1;
        let last = good.rsplit(|b| *b == b'\n').next().unwrap_or_default();
        let column = String::from_utf8_lossy(last).chars().count() + 1;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (number(line), number(column), "is not UTF-8 text".to_owned(), "save the file as UTF-8")
    })
}

fn read(name: &str, text: &str, base: &Path) -> Result<Config, ConfigErrors> {
    let mut report = Report::new(name);
    let hash = format!("{:032x}", xxh3_128(text.as_bytes()));
    let config = tree::parse(text, &mut report)
        .and_then(|node| Root::read(&node, &place(String::new(), node.mark, &node), &mut report))
        .map(|root| build(&root, base, hash, &mut report));
    let (config, warnings) = report.finish(config)?;
    Ok(Config { warnings, ..config })
}
