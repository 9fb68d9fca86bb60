//! Endpoints as the workers see them: who is taken out, for how long, and who comes back.

use super::*;
use crate::base::Weight;
use crate::upstream::OutlierSpec;

fn cluster(ports: &[u16], change: impl FnOnce(&mut UpstreamSpec)) -> Cluster {
    let place = |port: &u16| EndpointSpec {
        address: Address::Tcp { host: "127.0.0.1".to_owned(), port: *port },
        authority: format!("127.0.0.1:{port}"),
    };
    let first = place(&ports[0]);
    let mut spec = UpstreamSpec::new(first.address, first.authority);
    spec.others = ports[1..].iter().map(place).collect();
    change(&mut spec);
    Cluster::new(&spec).unwrap()
}

fn fail(cluster: &Cluster, member: usize, times: u32) {
    for _ in 0..times {
        cluster.failed(&cluster.members()[member], false);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_too_often_in_a_row_is_out_for_a_while() {
    let cluster = cluster(&[1, 2, 3], |_| ());
    fail(&cluster, 1, 4);
    cluster.succeeded(&cluster.members()[1]);
    fail(&cluster, 1, 4);
    assert_eq!(cluster.standings(), [3, 0, 0]);
    let before = cluster.changes();
    fail(&cluster, 1, 1);
    assert_eq!(cluster.standings(), [2, 0, 1]);
    assert_ne!(cluster.changes(), before);
    tokio::time::advance(Duration::from_millis(29_999)).await;
    assert_eq!(cluster.standings(), [2, 0, 1]);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(cluster.standings(), [3, 0, 0]);
    assert_eq!(cluster.stats().ejections, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_begins_well_says_nothing_for_those_that_broke_off() {
    let cluster = cluster(&[1, 2, 3], |_| ());
    let member = cluster.members()[1].clone();
    for _ in 0..4 {
        // Its head ends the row of those without an answer, and no more.
        fail(&cluster, 1, 1);
        cluster.answered(&member);
        cluster.failed(&member, true);
    }
    assert_eq!(cluster.standings(), [3, 0, 0]);
    cluster.succeeded(&member);
    for _ in 0..4 {
        cluster.answered(&member);
        cluster.failed(&member, true);
    }
    assert_eq!(cluster.standings(), [3, 0, 0]);
    cluster.answered(&member);
    fail(&cluster, 1, 1);
    assert_eq!(cluster.standings(), [2, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_with_an_endpoint_that_is_out_already_is_no_second_offence() {
    let cluster = cluster(&[1, 2, 3], |spec| {
        let max_share = Weight::percent(100);
        spec.balance.outlier = Some(OutlierSpec { max_share, ..OutlierSpec::default() });
    });
    fail(&cluster, 1, 45);
    let (now, stats) = (cluster.now(), cluster.stats());
    assert_eq!(cluster.members()[1].ejected_until(now), Some(now + 30_000));
    assert_eq!((stats.ejections, stats.ejections_refused), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn who_fails_again_at_once_is_out_for_longer_and_who_was_well_is_forgiven() {
    let cluster = cluster(&[1, 2], |_| ());
    let out = |cluster: &Cluster| {
        fail(cluster, 0, 5);
        let member = cluster.members()[0].clone();
        let now = cluster.now();
        member.ejected_until(now).unwrap() - now
    };
    let mut lengths = Vec::new();
    for _ in 0..12 {
        let length = out(&cluster);
        lengths.push(length / 1_000);
        tokio::time::advance(Duration::from_millis(length)).await;
    }
    assert_eq!(lengths, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(out(&cluster), 30_000);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_out_than_the_share_and_the_only_one_never_is() {
    let only = cluster(&[1], |_| ());
    fail(&only, 0, 100);
    assert_eq!((only.standings(), only.stats().ejections_refused), ([1, 0, 0], 20));

    let share = |percent| {
        move |spec: &mut UpstreamSpec| {
            let max_share = Weight::percent(percent);
            spec.balance.outlier = Some(OutlierSpec { max_share, ..OutlierSpec::default() });
        }
    };
    for (percent, out) in [(0, 1), (10, 1), (49, 1), (50, 2), (100, 4)] {
        let four = cluster(&[1, 2, 3, 4], share(percent));
        for member in 0..4 {
            fail(&four, member, 5);
        }
        assert_eq!(four.standings()[2], out, "{percent}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_rule_nobody_is_taken_out() {
    let cluster = cluster(&[1, 2], |spec| spec.balance.outlier = None);
    fail(&cluster, 0, 1_000);
    assert_eq!((cluster.standings(), cluster.stats()), ([2, 0, 0], ClusterStats::default()));
}

#[tokio::test(start_paused = true)]
async fn health_checks_take_out_and_bring_back_with_a_slow_start() {
    let cluster = cluster(&[1, 2], |_| ());
    let member = cluster.members()[0].clone();
    tokio::time::advance(Duration::from_secs(100)).await;
    assert!(cluster.set_health(&member, Health::Unwell) && !cluster.set_health(&member, Health::Unwell));
    assert_eq!(cluster.standings(), [1, 1, 0]);
    assert_eq!(member.since(), 0);
    assert!(cluster.set_health(&member, Health::Well));
    assert_eq!((cluster.standings(), member.since()), ([2, 0, 0], 100_000));
    let slow = Duration::from_secs(10);
    let share = |now| (member.readiness(slow, now) * 100.0).round();
    assert_eq!([100_000, 100_500, 105_000, 110_000, 999_999].map(share), [10.0, 10.0, 50.0, 100.0, 100.0]);
    assert!((member.readiness(Duration::ZERO, 100_000) - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn names_become_their_addresses_and_those_that_stay_keep_their_record() {
    let cluster = cluster(&[9], |spec| {
        spec.address = Address::Tcp { host: "localhost".to_owned(), port: 9 };
        spec.authority = "localhost:9".to_owned();
        spec.balance.resolve = Some(Duration::from_secs(5));
    });
    assert_eq!(cluster.resolve_every(), Some(Duration::from_secs(5)));
    let named = cluster.members()[0].clone();
    cluster.resolve().await;
    let first = cluster.members();
    assert!(!first.is_empty() && !Arc::ptr_eq(&named, &first[0]));
    assert!(first.iter().all(|m| m.target().authority() == "localhost:9" && m.target().ip().is_some()));
    cluster.set_health(&first[0], Health::Unwell);
    let changes = cluster.changes();
    cluster.resolve().await;
    assert!(Arc::ptr_eq(&first[0], &cluster.members()[0]));
    assert_eq!(cluster.changes(), changes);
}

#[test]
fn the_order_of_a_name_servers_answers_changes_nothing() {
    let cluster = cluster(&[1, 2, 3], |_| {});
    let old = cluster.members();
    let take = |indices: &[usize]| indices.iter().map(|index| old[*index].clone()).collect::<Vec<_>>();
    let same = |a: &[Arc<Endpoint>], b: &[Arc<Endpoint>]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
    };
    assert!(changed(&old, take(&[2, 0, 1])).is_none());
    assert!(changed(&old, Vec::new()).is_none(), "without any there would be nobody to ask");
    assert!(same(&changed(&old, take(&[2, 0])).unwrap(), &take(&[0, 2])));
    assert!(same(&changed(&take(&[0, 1]), take(&[2, 1])).unwrap(), &take(&[1, 2])));
    assert!(same(&changed(&take(&[0, 1]), take(&[2, 1, 0])).unwrap(), &take(&[0, 1, 2])));
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_keeps_what_it_had() {
    let cluster = cluster(&[9], |spec| {
        spec.address = Address::Tcp { host: "no.such.name.invalid".to_owned(), port: 9 };
        spec.balance.resolve = Some(Duration::from_secs(5));
    });
    let before = cluster.members();
    cluster.resolve().await;
    assert!(Arc::ptr_eq(&before, &cluster.members()));
    assert_eq!(cluster.stats().lookups_failed, 1);
}

#[test]
fn addresses_and_sockets_are_not_looked_up() {
    let resolve = |spec: &mut UpstreamSpec| spec.balance.resolve = Some(Duration::from_secs(5));
    assert_eq!(cluster(&[1, 2], resolve).resolve_every(), None);
}
