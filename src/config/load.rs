//! From file or text to a checked configuration.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::build::build;
use super::problem::{At, ConfigErrors, Report};
use super::raw::Root;
use super::read::{Read, place};
use super::spec::Config;
use super::tree;

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
