//! The `switchback` binary: parse, run, exit.

fn main() -> std::process::ExitCode {
    switchback::cli::main()
}
