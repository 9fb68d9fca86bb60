//! The outbox: in order per receiver, bounded, and never in the way of a decision.

use super::*;

fn small() -> Limits {
    Limits { notices: 3, notice_bytes: 60, ..Limits::default() }
}

fn sized(id: &str, bytes: usize) -> Notice {
    Notice { event: "x".repeat(bytes), ..notice(id, "ops") }
}

#[test]
fn notices_come_out_per_receiver_in_the_order_in_which_they_went_in() {
    let folder = Folder::new();
    let mut store = folder.open();
    store
        .commit(&[
            Write::Notice(notice("b", "ops")),
            Write::Notice(notice("c", "chat")),
            Write::Notice(notice("a", "ops")),
        ])
        .unwrap();
    let mut outbox = store.outbox().unwrap();
    outbox.postpone("b", 500).unwrap();
    let first = outbox.oldest("ops", &[]).unwrap().unwrap();
    assert_eq!((first.id.as_str(), first.attempts, first.next_ms), ("b", 1, 500), "it keeps its place");
    assert_eq!(outbox.oldest("chat", &[]).unwrap().unwrap().id, "c", "and holds up nobody else");
    assert_eq!(outbox.oldest("ops", &["b".to_owned()]).unwrap().unwrap().id, "a", "what is over is passed");
    outbox.remove("b").unwrap();
    assert_eq!(outbox.oldest("ops", &[]).unwrap().unwrap().id, "a");
    outbox.remove("a").unwrap();
    assert_eq!(outbox.oldest("ops", &[]), Ok(None));
    assert_eq!(outbox.size(), Ok(OutboxSize { notices: 1, bytes: 21 }));
}

#[test]
fn a_full_outbox_refuses_and_counts_but_the_decision_is_kept() {
    let folder = Folder::new();
    let mut store = folder.open_with(small());
    store.commit(&[Write::Notice(sized("1", 30)), Write::Notice(sized("2", 30))]).unwrap();
    let committed = store.commit(&[Write::Notice(sized("3", 1)), Write::Latch(latch("x", "d"))]).unwrap();
    assert_eq!(committed.notices_refused, 1, "by bytes");
    assert_eq!(store.read().latches(None).unwrap().len(), 1);

    let mut outbox = store.outbox().unwrap();
    outbox.remove("2").unwrap();
    assert_eq!(outbox.put(&sized("4", 1)), Ok(Put::Kept));
    assert_eq!(outbox.put(&sized("5", 1)), Ok(Put::Kept));
    assert_eq!(outbox.put(&sized("6", 1)), Ok(Put::Refused), "by number");
    assert_eq!(outbox.put(&sized("5", 1)), Ok(Put::Kept), "it is there already");
    let health = store.health();
    assert_eq!(health.outbox, OutboxSize { notices: 3, bytes: 32 });
    assert_eq!(health.notices_refused, 1);
}

#[test]
fn notices_of_receivers_that_are_gone_are_taken_out() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.commit(&["a", "b", "c"].map(|sink| Write::Notice(notice(sink, sink)))).unwrap();
    let mut outbox = store.outbox().unwrap();
    assert_eq!(outbox.keep_only(&["b"]), Ok(2));
    assert_eq!(outbox.oldest("a", &[]), Ok(None));
    assert!(outbox.oldest("b", &[]).unwrap().is_some());
}

#[test]
fn control_and_delivery_write_side_by_side() {
    let folder = Folder::new();
    let mut store = folder.open();
    let mut outbox = store.outbox().unwrap();
    let sender = std::thread::spawn(move || {
        let mut sent = 0;
        while sent < 50 {
            if let Some(notice) = outbox.oldest("ops", &[]).unwrap() {
                outbox.remove(&notice.id).unwrap();
                sent += 1;
            }
        }
    });
    for number in 0..50 {
        store.commit(&[Write::Notice(notice(&format!("n{number}"), "ops"))]).unwrap();
    }
    sender.join().unwrap();
    assert_eq!(store.health().outbox, OutboxSize::default());
}
