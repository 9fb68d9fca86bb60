//! What a failure to connect is taken for, and how the time is shared out.

use std::process::Command;

use super::*;
use crate::upstream::{Address, UpstreamSpec};

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 80))
}

#[tokio::test(start_paused = true)]
async fn an_address_that_swallows_packets_leaves_time_for_the_next() {
    let addresses = [address(1), address(2), address(3)];
    let begin = Instant::now();
    let connect = async |to: SocketAddr| {
        if to == address(3) {
            return Ok(to);
        }
        std::future::pending().await
    };
    let deadline = begin + Duration::from_secs(9);
    let found = first_that_answers(&addresses, deadline, connect).await;
    assert_eq!(found.unwrap(), address(3));
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(6) && took < Duration::from_secs(7), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_last_refusal_is_the_reason() {
    let addresses = [address(1), address(2)];
    let deadline = Instant::now() + Duration::from_secs(9);
    let refuse = async |_: SocketAddr| io::Result::<()>::Err(io::ErrorKind::ConnectionRefused.into());
    let error = first_that_answers(&addresses, deadline, refuse).await.unwrap_err();
    assert_eq!(reason(&error), "connection refused");
    let none = first_that_answers(&[], deadline, refuse).await.unwrap_err();
    assert_eq!(none.kind(), io::ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_the_other_side_did_says_more_than_what_we_lack() {
    let (refused, no_way) = (Errno::CONNREFUSED, Errno::NETUNREACH);
    for (errors, expected) in [
        ([refused, Errno::ADDRNOTAVAIL], refused),
        ([Errno::MFILE, refused], refused),
        ([refused, no_way], refused),
        ([no_way, Errno::MFILE], Errno::MFILE),
        ([Errno::ADDRNOTAVAIL, no_way], Errno::ADDRNOTAVAIL),
        ([no_way, no_way], no_way),
        ([Errno::HOSTUNREACH, refused], refused),
    ] {
        let fail = async |to: SocketAddr| {
            let which = usize::from(to == address(2));
            io::Result::<()>::Err(io::Error::from_raw_os_error(errors[which].raw_os_error()))
        };
        let deadline = Instant::now() + Duration::from_secs(9);
        let error = first_that_answers(&[address(1), address(2)], deadline, fail).await.unwrap_err();
        assert!(is(&error, expected), "{errors:?}: {error}");
        assert_eq!(is_ours(&error), expected == Errno::MFILE || expected == Errno::ADDRNOTAVAIL);
    }
}

#[test]
fn where_a_port_would_do_it_is_ports_that_are_lacking() {
    let lacking = io::Error::from_raw_os_error(Errno::ADDRNOTAVAIL.raw_os_error());
    assert!(is_ours(&told_apart(lacking, SocketAddr::from(([127, 0, 0, 1], 80)))));
}

/// Runs the test `name` again in a process of its own, which `begin` starts and which alone sees
/// `true`.
fn is_alone(name: &str, begin: &[&str]) -> bool {
    const ALONE: &str = "SWITCHBACK_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let this = std::env::current_exe().unwrap();
    let name = format!("upstream::connect::tests::{name}");
    let mut command = match begin {
        [] => Command::new(this),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(this);
            command
        }
    };
    let output = command.args(["--exact", &name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
    false
}

async fn connect_to(host: &str) -> FaultKind {
    let spec = UpstreamSpec::new(Address::Tcp { host: host.to_owned(), port: 80 }, "a".to_owned());
    probe(&Target::new(&spec).unwrap()).await.unwrap_err().kind
}

#[tokio::test]
async fn an_address_of_a_family_that_this_host_does_not_have_is_no_want_of_ours() {
    // A network namespace of its own has nothing in it that is up.
    let begin = ["unshare", "--map-root-user", "--net"];
    let can = Command::new(begin[0]).args(&begin[1..]).arg("true").status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no network namespace can be made here");
        return;
    }
    if is_alone("an_address_of_a_family_that_this_host_does_not_have_is_no_want_of_ours", &begin) {
        assert_eq!(connect_to("::1").await, FaultKind::ConnectFailed);
    }
}

#[tokio::test]
async fn a_name_that_is_not_looked_up_for_want_of_descriptors_is_no_fault_of_its_upstream() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if !is_alone("a_name_that_is_not_looked_up_for_want_of_descriptors_is_no_fault_of_its_upstream", &[]) {
        return;
    }
    assert_ne!(connect_to("a.invalid").await, FaultKind::Exhausted);
    let few = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, few).unwrap();
    let held: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    assert_eq!(connect_to("a.invalid").await, FaultKind::Exhausted);
    drop(held);
    assert_ne!(connect_to("a.invalid").await, FaultKind::Exhausted);
}
