//! ONNX Runtime's shared library: found and loaded once per process, at run time.
//!
//! The proxy must run without it, so nothing links to it and every failure is a value that names
//! the paths tried, the version found and the one needed. One process has one library and one
//! environment for ever (ONNX Runtime allows no second one), so success is kept in a static;
//! failure is not, and the next engine that starts looks again.

use std::error::Error as _;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::logging::LogLevel;

/// The library's file name as its makers ship it, and its soname.
const NAMES: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so.1"];

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// Where to look for the library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeSource {
    /// The configured path. Nothing else is tried when it is set.
    pub library: Option<PathBuf>,
}

/// The loaded library and its environment. It is never unloaded.
#[derive(Debug)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
    version: String,
}

/// Why ONNX Runtime is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// It is in none of the places looked at.
    #[error(
        "ONNX Runtime is not installed: tried {}; set onnxRuntime.library or ORT_DYLIB_PATH to \
         libonnxruntime.so, version {} or newer",
        list(.tried), needed()
    )]
    NotFound {
        /// The places, in order.
        tried: Vec<PathBuf>,
    },
    /// A file is there, or was asked for, and cannot be loaded.
    #[error("ONNX Runtime cannot be loaded from {} ({origin}): {reason}", .path.display())]
    Unloadable {
        /// The file.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
        /// What the loader says.
        reason: String,
    },
    /// It is older than this program needs.
    #[error("ONNX Runtime at {} ({origin}) is version {found}, needed is {} or newer", .path.display(), needed())]
    TooOld {
        /// The file.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
        /// Its version.
        found: String,
    },
    /// It was loaded and does not start.
    #[error("ONNX Runtime at {} does not start: {reason}", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
}

/// Who named a library file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The configuration.
    Configured,
    /// The environment variable `ORT_DYLIB_PATH`.
    Variable,
    /// It lies beside the executable, or in `../lib`.
    Beside,
    /// The system's library search path.
    System,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Configured => "from onnxRuntime.library",
            Self::Variable => "from ORT_DYLIB_PATH",
            Self::Beside => "beside the executable",
            Self::System => "from the system's libraries",
        })
    }
}

/// The oldest version that works.
fn needed() -> String {
    format!("1.{}", ort::MINOR_VERSION)
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Runtime {
    /// The environment that sessions are made in.
    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The file it was loaded from.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Its version, such as `1.31.0`; `unknown` when the build does not say.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// The runtime, loaded now if it is not yet. Blocks while the library is loaded (tens of
/// milliseconds), so it belongs on a thread that may block.
///
/// A library that was loaded before stays, whatever `source` says, because a process can have one
/// only; a configured file that does not exist is an error all the same.
///
/// # Errors
/// [`RuntimeError`], which names every path and what was wrong with it.
pub fn load(source: &RuntimeSource) -> Result<&'static Runtime, RuntimeError> {
    let candidates = candidates(source, std::env::var_os("ORT_DYLIB_PATH"), std::env::current_exe().ok());
    if let [Candidate { path, origin: origin @ Origin::Configured }] = candidates.as_slice()
        && let Err(error) = std::fs::metadata(path)
    {
        return Err(RuntimeError::Unloadable {
            path: path.clone(),
            origin: *origin,
            reason: error.to_string(),
        });
    }
    let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        let same = |path: &Path| path.canonicalize().ok() == runtime.library.canonicalize().ok();
        if source.library.as_deref().is_some_and(|path| !same(path)) {
            tracing::warn!(loaded = %runtime.library.display(), "another ONNX Runtime is configured, it takes a restart");
        }
        return Ok(runtime);
    }
    let (path, builder) = first_that_loads(&candidates)?;
    let broken = |reason: String| RuntimeError::Broken { path: path.clone(), reason };
    let environment = builder
        .with_name("switchback")
        .with_telemetry(false)
        .build()
        .map_err(|error| broken(error.message().to_owned()))?;
    // Its default hands every verbose line to our log, request by request.
    environment.set_log_level(LogLevel::Warning);
    let version = version(ort::info(), &path);
    tracing::info!(library = %path.display(), version, "ONNX Runtime loaded");
    Ok(RUNTIME.get_or_init(|| Runtime { environment, library: path, version }))
}

/// The version, which the binding keeps to itself: from the build line, where release branches name
/// it (`ORT Build Info: git-branch=rel-1.31.0, ...`), or from the file's full name.
fn version(info: &str, path: &Path) -> String {
    let branch = info.split_once("git-branch=rel-").and_then(|(_, rest)| rest.split([',', ' ']).next());
    let file = path.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let suffix = file.as_deref().and_then(|name| name.split_once(".so.")).map(|(_, version)| version);
    branch.or(suffix).unwrap_or("unknown").to_owned()
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    path: PathBuf,
    origin: Origin,
}

/// The files to try, in order. What a person named is tried alone: falling through to another
/// library would hide the mistake.
fn candidates(
    source: &RuntimeSource,
    variable: Option<OsString>,
    executable: Option<PathBuf>,
) -> Vec<Candidate> {
    if let Some(path) = &source.library {
        return vec![Candidate { path: path.clone(), origin: Origin::Configured }];
    }
    if let Some(path) = variable.filter(|path| !path.is_empty()) {
        return vec![Candidate { path: path.into(), origin: Origin::Variable }];
    }
    let folder = executable.as_deref().and_then(Path::parent);
    let folders = folder.into_iter().flat_map(|folder| [folder.to_owned(), folder.join("../lib")]);
    let beside = folders.flat_map(|folder| NAMES.map(|name| folder.join(name)));
    beside
        .map(|path| Candidate { path, origin: Origin::Beside })
        .chain(NAMES.map(|name| Candidate { path: name.into(), origin: Origin::System }))
        .collect()
}

fn first_that_loads(
    candidates: &[Candidate],
) -> Result<(PathBuf, ort::environment::EnvironmentBuilder), RuntimeError> {
    for Candidate { path, origin } in candidates {
        // A file that lies beside the executable and does not load is an error, not a miss.
        if *origin == Origin::Beside && !path.exists() {
            continue;
        }
        match ort::init_from(path) {
            Ok(builder) => return Ok((path.clone(), builder)),
            Err(LoadDynamicError::Dlopen { .. }) if *origin == Origin::System => {}
            Err(error) => return Err(refused(path, *origin, &error)),
        }
    }
    Err(RuntimeError::NotFound { tried: candidates.iter().map(|candidate| candidate.path.clone()).collect() })
}

fn refused(path: &Path, origin: Origin, error: &LoadDynamicError) -> RuntimeError {
    let path = path.to_owned();
    let reason = match error {
        LoadDynamicError::BadVersion { version_str, .. } => {
            return RuntimeError::TooOld { path, origin, found: version_str.clone() };
        }
        LoadDynamicError::MissingApi { .. } => {
            "it is another library (it does not export OrtGetApiBase)".to_owned()
        }
        LoadDynamicError::InvalidVersionString => "its version is not text".to_owned(),
        // The error itself says only that dlopen failed; its source has the loader's words.
        LoadDynamicError::Dlopen { error, .. } => {
            error.source().map_or_else(|| error.to_string(), ToString::to_string)
        }
    };
    RuntimeError::Unloadable { path, origin, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::testing;

    #[test]
    fn what_a_person_named_is_tried_alone_and_in_this_order() {
        let exe = || Some(PathBuf::from("/opt/bin/switchback"));
        let configured = RuntimeSource { library: Some("/a.so".into()) };
        let origins = |found: &[Candidate]| found.iter().map(|c| c.origin).collect::<Vec<_>>();
        assert_eq!(origins(&candidates(&configured, Some("/b.so".into()), exe())), [Origin::Configured]);
        let found = candidates(&RuntimeSource::default(), Some("/b.so".into()), exe());
        assert_eq!(origins(&found), [Origin::Variable]);
        let found = candidates(&RuntimeSource::default(), Some("".into()), exe());
        let paths: Vec<_> = found.iter().map(|c| c.path.display().to_string()).collect();
        assert_eq!(
            paths,
            [
                "/opt/bin/libonnxruntime.so",
                "/opt/bin/libonnxruntime.so.1",
                "/opt/bin/../lib/libonnxruntime.so",
                "/opt/bin/../lib/libonnxruntime.so.1",
                "libonnxruntime.so",
                "libonnxruntime.so.1"
            ]
        );
    }

    #[test]
    fn the_version_is_read_from_the_build_line_or_the_file_name() {
        let nowhere = Path::new("libonnxruntime.so");
        assert_eq!(version("ORT Build Info: git-branch=rel-1.31.0, git-commit-id=2", nowhere), "1.31.0");
        assert_eq!(version("ORT Build Info: git-branch=HEAD", nowhere), "unknown");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so.1.30.2");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, folder.path().join("libonnxruntime.so")).unwrap();
        assert_eq!(version("git-branch=HEAD", &folder.path().join("libonnxruntime.so")), "1.30.2");
    }

    #[test]
    fn a_configured_file_that_is_missing_is_named() {
        let error = load(&RuntimeSource { library: Some("/nowhere/libonnxruntime.so".into()) }).unwrap_err();
        let line = error.to_string();
        assert!(line.contains("/nowhere/libonnxruntime.so (from onnxRuntime.library)"), "{line}");
        assert!(line.contains("No such file"), "{line}");
    }

    #[test]
    fn the_library_is_loaded_once_and_names_itself() {
        let runtime = load(&testing::source()).unwrap();
        assert_eq!(
            runtime.library().canonicalize().ok(),
            testing::source().library.unwrap().canonicalize().ok()
        );
        assert!(std::ptr::eq(runtime, load(&testing::source()).unwrap()));
    }

    // A process has one library for ever, so what goes wrong before that is seen in a process of
    // its own: this test binary again, running one ignored test.

    fn in_a_process_of_its_own(test: &str, variable: &Path) -> String {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("onnx::runtime::tests::{test}"), "--ignored", "--nocapture"])
            .env("ORT_DYLIB_PATH", variable)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    #[ignore = "run by other tests in a process of its own"]
    fn child_prints_the_error() {
        println!("{}", load(&RuntimeSource::default()).unwrap_err());
    }

    #[test]
    #[ignore = "run by other tests in a process of its own"]
    fn child_recovers_when_the_file_is_right() {
        load(&RuntimeSource::default()).unwrap_err();
        println!("then {:?}", load(&testing::source_beside_variable()).map(Runtime::version));
    }

    #[test]
    fn a_variable_with_a_missing_file_is_an_error_with_the_path() {
        let line = in_a_process_of_its_own("child_prints_the_error", Path::new("/nowhere/libort.so"));
        assert!(line.contains("/nowhere/libort.so (from ORT_DYLIB_PATH)"), "{line}");
        assert!(line.contains("No such file"), "{line}");
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error_with_the_loaders_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        std::fs::write(&path, b"not a library").unwrap();
        let line = in_a_process_of_its_own("child_prints_the_error", &path);
        assert!(line.contains("invalid ELF header") || line.contains("too short"), "{line}");
    }

    #[test]
    fn a_library_that_is_not_onnx_runtime_is_an_error_that_says_so() {
        let line = in_a_process_of_its_own("child_prints_the_error", Path::new("libm.so.6"));
        assert!(line.contains("libm.so.6") && line.contains("does not export OrtGetApiBase"), "{line}");
    }

    #[test]
    fn a_library_that_is_too_old_is_an_error_with_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let (source, path) = (folder.path().join("old.c"), folder.path().join("libonnxruntime.so"));
        // As a release of 2021 begins: it knows no interface of this number.
        let old = "static const void *api(unsigned v) { (void)v; return 0; }\n\
                   static const char *version(void) { return \"1.10.0\"; }\n\
                   static struct { const void *(*api)(unsigned); const char *(*version)(void); } base = {api, version};\n\
                   const void *OrtGetApiBase(void) { return &base; }\n";
        std::fs::write(&source, old).unwrap();
        let compiler = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&path)
            .arg(&source)
            .status();
        assert!(compiler.unwrap().success());
        let line = in_a_process_of_its_own("child_prints_the_error", &path);
        let wanted = format!(
            "ONNX Runtime at {} (from ORT_DYLIB_PATH) is version 1.10.0, needed is 1.24 or newer",
            path.display()
        );
        assert!(line.contains(&wanted), "{line}");
    }

    #[test]
    fn a_failure_is_not_for_ever() {
        let line = in_a_process_of_its_own("child_recovers_when_the_file_is_right", Path::new("/nowhere/x"));
        assert!(line.contains("then Ok("), "{line}");
    }
}
