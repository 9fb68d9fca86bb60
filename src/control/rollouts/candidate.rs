//! What a version is, whatever it is called: its digest.
//!
//! A rolled-back candidate is latched by what it is, so that a new name does not bring it back. For
//! a model file that is the SHA-256 of its bytes; for a model server, whose files nobody here can
//! read, it is what the caller says, or else a hash of where it is and what it is sent.

use std::fs::File;
use std::io::Read as _;

use ring::digest::{Context, SHA256};
use xxhash_rust::xxh3::xxh3_128;

use crate::onnx::EngineSpec;
use crate::routing::spec::{BackendSpec, VersionSpec};
use crate::upstream::{Address, UpstreamSpec};
use crate::wire::rewrite::RewriteSpec;

/// What a digest begins with that a caller has said.
pub(super) const GIVEN: &str = "given:";

/// The digest of `version`: `sha256:…` of a model file, `given:…` as the caller says, `server:…` of
/// the place and name of a model at a server.
///
/// # Errors
/// Why the model file can't be read, for people.
fn digest(version: &VersionSpec, given: Option<&str>) -> Result<String, String> {
    match (&version.backend, given) {
        (_, Some(given)) => Ok(format!("{GIVEN}{given}")),
        (BackendSpec::Onnx(engine), None) => file(engine),
        (BackendSpec::Upstream(upstream), None) => Ok(server(upstream, &version.rewrite)),
    }
}

/// Digests that were made beforehand: reading a model file takes longer than a decision may wait.
#[derive(Debug, Default)]
pub(super) struct Digests(Vec<(VersionSpec, Result<String, String>)>);

impl Digests {
    /// Reads what there is to read, each file once. Blocks.
    pub(super) fn of(versions: impl IntoIterator<Item = VersionSpec>) -> Self {
        let mut known = Self::default();
        for version in versions {
            if known.find(&version).is_none() {
                let digest = digest(&version, None);
                known.0.push((version, digest));
            }
        }
        known
    }

    /// Whether the digest of `version` is among these, or nothing is to be read for it.
    pub(super) fn has(&self, version: &VersionSpec) -> bool {
        !is_file(version) || self.find(version).is_some()
    }

    fn find(&self, version: &VersionSpec) -> Option<&Result<String, String>> {
        let mut known = self.0.iter();
        known.find(|(known, _)| is_same(known, version)).map(|(_, digest)| digest)
    }

    /// The digest of `version`, as [`digest`] says. Only where the configuration has changed since is it
    /// read now.
    ///
    /// # Errors
    /// As [`digest`].
    pub(super) fn get(&self, version: &VersionSpec, given: Option<&str>) -> Result<String, String> {
        match self.find(version).filter(|_| given.is_none()) {
            Some(digest) => digest.clone(),
            None => digest(version, given),
        }
    }
}

/// Whether a file is to be read for the digest of `version`.
pub(super) fn is_file(version: &VersionSpec) -> bool {
    matches!(version.backend, BackendSpec::Onnx(_))
}

/// Whether both have the same digest, for all that can be said without reading anything.
pub(super) fn is_same(one: &VersionSpec, other: &VersionSpec) -> bool {
    one.backend == other.backend && one.rewrite == other.rewrite
}

fn file(engine: &EngineSpec) -> Result<String, String> {
    let path = engine.path();
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut file = File::open(&path).map_err(unreadable)?;
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(unreadable)?;
        match buffer.get(..read) {
            None | Some([]) => break,
            Some(bytes) => hash.update(bytes),
        }
    }
    Ok(format!("sha256:{}", hex(hash.finish().as_ref())))
}

/// Only what decides which model answers goes in: timeouts and pools may change.
fn server(upstream: &UpstreamSpec, rewrite: &RewriteSpec) -> String {
    let mut parts = vec![match &upstream.address {
        Address::Tcp { host, port } => format!("tcp:{host}:{port}"),
        Address::Unix(path) => format!("unix:{}", path.display()),
    }];
    parts.extend(upstream.others.iter().map(|other| match &other.address {
        Address::Tcp { host, port } => format!("also tcp:{host}:{port}"),
        Address::Unix(path) => format!("also unix:{}", path.display()),
    }));
    let texts = [
        ("model", rewrite.model.as_deref()),
        ("version", rewrite.model_version.as_deref()),
        ("from", rewrite.path_prefix.as_ref().map(|prefix| prefix.from.as_str())),
        ("to", rewrite.path_prefix.as_ref().map(|prefix| prefix.to.as_str())),
        ("host", rewrite.host.as_deref()),
    ];
    parts.extend(texts.into_iter().filter_map(|(name, text)| Some(format!("{name}:{}", text?))));
    for (name, value) in &rewrite.set_headers {
        parts.push(format!("set:{name}:{}", hex(value.as_bytes())));
    }
    parts.extend(rewrite.remove_headers.iter().map(|name| format!("remove:{name}")));
    // Each part with its length, so that no two lists of parts read the same.
    let text: String = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    format!("server:{:032x}", xxh3_128(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Role, VersionName, Weight};

    fn version(name: &str, backend: BackendSpec, rewrite: RewriteSpec) -> VersionSpec {
        let name = VersionName::new(name).unwrap();
        VersionSpec { name, weight: Weight::ZERO, role: Role::Standby, backend, rewrite, limit: None }
    }

    fn server_at(port: u16) -> BackendSpec {
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port };
        BackendSpec::Upstream(Box::new(UpstreamSpec::new(address, format!("127.0.0.1:{port}"))))
    }

    #[test]
    fn a_server_is_known_by_its_place_and_by_what_it_is_sent_and_not_by_its_name() {
        let digest = |name, port, model: Option<&str>| {
            let rewrite = RewriteSpec { model: model.map(ToOwned::to_owned), ..RewriteSpec::default() };
            digest(&version(name, server_at(port), rewrite), None).unwrap()
        };
        assert_eq!(digest("v2", 9001, None), digest("another", 9001, None));
        assert_ne!(digest("v2", 9001, None), digest("v2", 9002, None));
        assert_ne!(digest("v2", 9001, None), digest("v2", 9001, Some("fraud-2")));
        // Written once: a change would let every latched server back in.
        assert_eq!(digest("v2", 9001, None), GOLDEN);
    }
    const GOLDEN: &str = "server:66be2284eb0126ac7877e1612feeab7d";

    #[test]
    fn a_model_file_is_known_by_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let engine = |n| EngineSpec::new(folder.path().to_owned(), "m".to_owned(), n);
        for (n, text) in [(1, "abc"), (2, "abc"), (3, "abd")] {
            std::fs::create_dir_all(engine(n).path().parent().unwrap()).unwrap();
            std::fs::write(engine(n).path(), text).unwrap();
        }
        let digest = |n| digest(&version("v", BackendSpec::Onnx(engine(n)), RewriteSpec::default()), None);
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(1).unwrap(), abc);
        assert_eq!(digest(2).unwrap(), abc);
        assert_ne!(digest(3).unwrap(), abc);
        assert!(digest(4).unwrap_err().contains("model.onnx"));
    }

    #[test]
    fn what_was_read_beforehand_is_not_read_again_unless_it_is_another_version_now() {
        let folder = tempfile::tempdir().unwrap();
        let engine = |n| EngineSpec::new(folder.path().to_owned(), "m".to_owned(), n);
        let made = |n| version("v2", BackendSpec::Onnx(engine(n)), RewriteSpec::default());
        std::fs::create_dir_all(engine(1).path().parent().unwrap()).unwrap();
        std::fs::write(engine(1).path(), "abc").unwrap();
        let digests = Digests::of([made(1)]);
        std::fs::remove_file(engine(1).path()).unwrap();
        assert_eq!(digests.get(&made(1), None), digest_of_abc());
        assert!(digests.get(&made(2), None).is_err(), "read now, and not there");
        // What a caller says needs no reading.
        assert_eq!(digests.get(&made(2), Some("x")).unwrap(), "given:x");
        let rewrite = RewriteSpec { model: Some("o".to_owned()), ..RewriteSpec::default() };
        let other = version("v2", BackendSpec::Onnx(engine(1)), rewrite);
        assert!(digests.get(&other, None).is_err());
        assert!(Digests::default().get(&made(1), None).is_err());
    }

    fn digest_of_abc() -> Result<String, String> {
        Ok("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned())
    }
}
