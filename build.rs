//! Two things that the linker is told for the executable, so that an idle sidecar is small.
//!
//! Its relocations are packed where the system can read them so. They are a third of a mebibyte, every
//! byte of which is read, and so resident, before `main`; packed they are a few kilobytes. The dynamic
//! loader has understood that since glibc 2.36; on one that does not, such an executable would not
//! start, and it is linked as ever.
//!
//! In a release, functions that run together stand together: `src/layout.ld`, which `make layout`
//! writes. 2 MiB of code are resident then, not 6. GNU ld and lld take such a script; whoever names
//! another linker is left alone, and `SWITCHBACK_LAYOUT=off` switches it off.

use std::env::var;
use std::process::Command;

/// The first glibc whose loader reads packed relocations (`DT_RELR`).
const SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/layout.ld");
    println!("cargo::rerun-if-env-changed=SWITCHBACK_LAYOUT");
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    // For another machine, nothing is known of its loader.
    let is_for_here = var("HOST").is_ok_and(|host| is("TARGET", &host));
    if is_for_here && glibc().is_some_and(|version| version >= SINCE) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let own_linker = var("RUSTC_LINKER").is_ok() || flags.contains("linker") || flags.contains("fuse-ld");
    if is("PROFILE", "release") && !own_linker && !is("SWITCHBACK_LAYOUT", "off") {
        let root = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{root}/src/layout.ld");
    }
}

fn is(name: &str, value: &str) -> bool {
    var(name).is_ok_and(|found| found == value)
}

/// The version of this machine's glibc.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
