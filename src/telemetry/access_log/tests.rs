//! The access log, up to its limits.

use super::*;
use std::sync::mpsc;

fn entry(path: &str) -> Entry {
    Entry {
        time: SystemTime::UNIX_EPOCH,
        model: ModelName::new("fraud").ok(),
        version: VersionName::new("v1").ok(),
        role: Some(Role::Stable),
        arm: VersionName::new("v2").ok(),
        method: "POST".into(),
        path: path.into(),
        protocol: "h2",
        status: 200,
        grpc_status: Some(14),
        outcome: "fault",
        fault: Some(FaultKind::UpstreamReset),
        duration: Duration::from_micros(1500),
        request_bytes: 10,
        response_bytes: 20,
        request_id: Some("abc".into()),
        mirrored: true,
    }
}

fn full() -> Weight {
    Weight::FULL
}

/// A sink that writes nothing until it is let go.
struct Gate(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        self.1.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn entries_are_lines_of_json_in_the_order_of_one_worker() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    for round in 0..2 {
        let (log, writer) = AccessLog::start(&path, full()).unwrap();
        for n in 0..50 {
            assert!(log.write(entry(&format!("/{round}/{n}"))));
        }
        drop(log);
        writer.finish();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 100, "a second start appends");
    assert_eq!(lines[73]["path"], "/1/23");
    assert_eq!(
        lines[0],
        serde_json::json!({
            "time": "1970-01-01T00:00:00.000Z", "model": "fraud", "version": "v1", "role": "stable",
            "arm": "v2", "method": "POST", "path": "/0/0", "protocol": "h2", "status": 200,
            "grpc_status": 14, "outcome": "fault", "fault": "upstream_reset",
            "duration_seconds": 0.0015, "request_bytes": 10, "response_bytes": 20,
            "request_id": "abc", "mirrored": true,
        })
    );
}

#[test]
fn a_full_queue_refuses_at_once_and_loses_nothing_that_it_took() {
    let (open, gate) = mpsc::channel();
    let (written, lines) = mpsc::channel();
    let (log, writer) = AccessLog::writing_to(Box::new(Gate(gate, written)), full(), 4).unwrap();
    let taken = (0..1_000).filter(|n| log.write(entry(&format!("/{n}")))).count();
    assert!((4..1_000).contains(&taken), "{taken}");
    drop(open);
    drop(log);
    writer.finish();
    let text = lines.iter().flatten().collect::<Vec<u8>>();
    assert_eq!(text.iter().filter(|b| **b == b'\n').count(), taken);
}

#[test]
fn the_longest_line_fits_into_one_piece_of_a_pipe() {
    let worst = "\u{1}".repeat(100_000);
    let long = "x".repeat(63);
    let mut entry = entry(&worst);
    entry.request_id = Some(worst.as_str().into());
    entry.model = ModelName::new(&long).ok();
    entry.version = VersionName::new(&long).ok();
    entry.arm = VersionName::new(&long).ok();
    entry.method = worst.as_str().into();
    entry.duration = Duration::MAX;
    (entry.request_bytes, entry.response_bytes) = (u64::MAX, u64::MAX);
    let mut line = Vec::new();
    write_line(&mut io::sink(), &mut line, &entry).unwrap();
    assert!(line.len() <= LINE_BYTES, "{}", line.len());
}

#[test]
fn long_text_is_cut_between_characters() {
    let clipped = Clipped::<5>::from("aéééé");
    assert_eq!(&*clipped.0, "aéé");
    assert_eq!(&*Clipped::<5>::from("ab").0, "ab");
}

#[test]
fn a_sink_that_fails_does_not_stop_the_writer() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let (log, writer) = AccessLog::writing_to(Box::new(Full), full(), 4).unwrap();
    let mut taken = 0;
    while taken < 100 {
        taken += usize::from(log.write(entry("/")));
    }
    drop(log);
    writer.finish();
}

#[test]
fn the_sample_is_a_share_of_all_draws() {
    let (log, _writer) = AccessLog::writing_to(Box::new(io::sink()), "1%".parse().unwrap(), 1).unwrap();
    assert_eq!((0..10_000).filter(|d| log.sampled(*d)).count(), 100);
}
