//! `kill -9` while a process commits: whatever it had acknowledged is there afterwards.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;

/// Tells this test binary, started by the test below, to be the process that is killed.
const CHILD: &str = "SWITCHBACK_TEST_STORE_CHILD";

/// The child: commits one number after the other and says so, until it is killed. It is a test so that it
/// can be reached in the test binary; without the variable it has nothing to do.
#[test]
fn the_process_that_commits_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let (mut store, recovered) = Store::open(path.as_ref()).unwrap();
    let first = recovered.roles.first().map_or(0, |row| row.roles.parse().unwrap());
    for number in first + 1..u64::MAX {
        store.commit(&both(number)).unwrap();
        let mut out = std::io::stdout();
        writeln!(out, "acknowledged {number}").unwrap();
        out.flush().unwrap();
    }
}

/// Two rows that belong together, over several pages.
fn both(number: u64) -> [Write; 3] {
    let padding = "p".repeat(usize::try_from(number % 7).unwrap() * 1_500);
    [
        Write::Roles(roles("x", &number.to_string())),
        Write::Rollout(Rollout {
            state: number.to_string(),
            phase: padding.chars().take(900).collect(),
            ..rollout("r", "x", 1, false)
        }),
        Write::Decision(Decision { record: format!("{number} {padding}"), ..decision("r", number) }),
    ]
}

#[test]
fn every_acknowledged_commit_survives_kill_9() {
    let folder = Folder::new();
    let name = concat!(module_path!(), "::the_process_that_commits_until_it_is_killed");
    let name = name.split_once("::").unwrap().1;
    let mut acknowledged = 0;
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        let mut note = |line: String| {
            // The test harness writes on the same line before the first acknowledgement.
            if let Some(number) = line.split("acknowledged ").nth(1).and_then(|n| n.parse::<u64>().ok()) {
                assert_eq!(number, acknowledged + 1, "a commit was lost or done twice");
                acknowledged = number;
                seen += 1;
            }
            seen
        };
        // Different rounds end in different places: some before the log is copied, some after.
        while note(lines.next().unwrap().unwrap()) < 3 + round * round {}
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            note(line);
        }

        let (store, recovered) = Store::open(&folder.path()).unwrap();
        let last: u64 = recovered.roles[0].roles.parse().unwrap();
        assert!(
            (acknowledged..=acknowledged + 1).contains(&last),
            "round {round}: {acknowledged} was acknowledged, {last} is there"
        );
        assert_eq!(recovered.live[0].state, last.to_string(), "half a commit");
        assert_eq!(store.read().last_decision("r").unwrap().unwrap().seq, last, "half a commit");
        for seq in last.saturating_sub(900).max(1)..=last {
            let found = store.read().decisions("r", seq.checked_sub(1), 1).unwrap();
            assert_eq!(found[0].seq, seq, "a decision is missing");
        }
        acknowledged = last;
    }
    assert!(acknowledged > 300);
}
