//! Packs the executable's relocations where the system can read them so.
//!
//! They are a third of a mebibyte, every byte of which is read, and so resident, before `main`. Packed
//! they are a few kilobytes. The dynamic loader has understood that since glibc 2.36; on one that does
//! not, such an executable would not start, and it is linked as ever.

use std::env::var;
use std::process::Command;

/// The first glibc whose loader reads packed relocations (`DT_RELR`).
const SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // For another machine, nothing is known of its loader.
    let is_for_here = var("HOST").is_ok_and(|host| var("TARGET").is_ok_and(|target| host == target));
    let is_gnu = var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux")
        && var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu");
    if is_for_here && is_gnu && glibc().is_some_and(|version| version >= SINCE) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
