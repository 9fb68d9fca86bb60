//! The numbers that comparators give.

use super::*;
use crate::divergence::distance::{edit_distance, normalise, token_overlap};
use crate::divergence::numeric::{compare as numbers, cosine};

fn measures(a: &[f64], b: &[f64], absolute: f64, relative: f64) -> Measures {
    numbers(a, b, Tolerance { absolute, relative }).measures
}

fn near(found: Option<f64>, want: f64) {
    let found = found.unwrap();
    assert!((found - want).abs() < 1e-12, "{found} is not {want}");
}

#[test]
fn numeric_reports_the_largest_differences() {
    let found = measures(&[1.0, 100.0, -2.0], &[1.5, 101.0, 2.0], 1.0, 0.0);
    near(found.max_absolute, 4.0);
    near(found.max_relative, 2.0);
    near(found.excess, 4.0);
    assert_eq!((found.compared, found.different, found.non_finite), (3, 1, 0));
    near(measures(&[10.0], &[11.0], 0.0, 0.1).excess, 1.0 / 1.1);
    near(measures(&[0.0], &[0.0], 0.0, 0.0).excess, 0.0);
    assert_eq!(measures(&[0.0], &[1.0], 0.0, 0.0).excess, Some(f64::MAX));
    assert_eq!(measures(&[f64::MAX], &[-f64::MAX], 0.0, 0.0).max_absolute, Some(f64::MAX));
    assert_eq!(measures(&[f64::NAN], &[f64::NAN], 0.0, 0.0).non_finite, 1);
    // A tolerance that is no number allows nothing.
    assert_eq!(measures(&[1.0], &[1.1], f64::NAN, 0.0).different, 1);
    assert_eq!(measures(&[1.0], &[1.1], -1.0, 0.0).different, 1);
}

#[test]
fn the_cosine_neither_overflows_nor_vanishes() {
    near(cosine(&[1.0, 0.0], &[2.0, 0.0]), 1.0);
    near(cosine(&[1.0, 0.0], &[0.0, 2.0]), 0.0);
    near(cosine(&[1.0, 1.0], &[-1.0, -1.0]), -1.0);
    near(cosine(&[1e300, 1e300], &[1e-300, 1e-300]), 1.0);
    near(cosine(&[0.0], &[0.0]), 1.0);
    near(cosine(&[0.0], &[1.0]), 0.0);
    near(cosine(&[1.0, f64::NAN], &[1.0, 5.0]), 1.0);
    assert_eq!(cosine(&[], &[]), None);
    assert_eq!(cosine(&[f64::NAN], &[1.0]), None);
}

#[test]
fn edit_distance_counts_what_it_takes_to_get_from_one_to_the_other() {
    for (a, b, want) in [
        ("kitten", "sitting", 3.0 / 7.0),
        ("", "", 0.0),
        ("", "abc", 1.0),
        ("abc", "abc", 0.0),
        ("abc", "xyz", 1.0),
        ("flaw", "lawn", 0.5),
        ("aéb", "aeb", 1.0 / 3.0),
        ("abcdef", "abXdef", 1.0 / 6.0),
    ] {
        near(Some(edit_distance(a, b)), want);
        near(Some(edit_distance(b, a)), want);
    }
}

#[test]
fn long_texts_are_compared_by_words_and_longer_ones_by_pairs_of_words() {
    let words = |count: usize| (0..count).map(|n| format!("w{}", n * 7)).collect::<Vec<_>>();
    let (mut a, b) = (words(1500), words(1500));
    a[3] = "other".to_owned();
    a[1400] = "another".to_owned();
    near(Some(edit_distance(&a.join(" "), &b.join(" "))), 2.0 / 1500.0);
    // Equal beginnings and ends do not count towards the limit.
    let (mut a, b) = (words(9000), words(9000));
    a[5000] = "other".to_owned();
    near(Some(edit_distance(&a.join(" "), &b.join(" "))), 1.0 / 9000.0);
    a[1] = "first".to_owned();
    let found = edit_distance(&a.join(" "), &b.join(" "));
    near(Some(found), 4.0 / 8999.0);
    near(Some(edit_distance(&b.join(" "), &a.join(" "))), found);
    let other = (0..9000).map(|n| format!("x{n}")).collect::<Vec<_>>();
    near(Some(edit_distance(&a.join(" "), &other.join(" "))), 1.0);
    // One word without an end has no pairs, and is another text all the same.
    assert!(edit_distance(&"a".repeat(5000), &"b".repeat(5000)) == 1.0);
}

#[test]
fn tokens_overlap_in_any_order_each_as_often_as_it_stands() {
    near(Some(token_overlap("the cat sat", "sat the cat")), 1.0);
    near(Some(token_overlap("a a b", "a b b")), 4.0 / 6.0);
    near(Some(token_overlap("x, y", "x y")), 4.0 / 5.0);
    near(Some(token_overlap("", "")), 1.0);
    near(Some(token_overlap("", "a")), 0.0);
    assert_eq!(normalise("  a\n\tb  c "), "a b c");
}

#[test]
fn severity_orders_by_gravity_then_by_extent() {
    let of = |data: &str| tensor("FP32", "[1]", data);
    let base = of("[1]");
    let severity = |b: &Answer| auto(&base, b).severity();
    let order = [
        severity(&of("[1]")),
        severity(&of("[1.0001]")),
        severity(&of("[1.1]")),
        severity(&of("[5]")),
        severity(&tensor("FP64", "[1]", "[1]")),
        severity(&of("[NaN]")),
        severity(&Answer { status: 500, ..base.clone() }),
    ];
    assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
}

#[test]
fn what_is_off_without_being_a_number_counts_beside_numbers_that_agree() {
    let extent = |b: &str| {
        let base = answer(OTHER, r#"{"n":1.5,"s":"x","t":"x"}"#);
        auto(&base, &answer(OTHER, b)).worst.unwrap().measures.extent()
    };
    near(Some(extent(r#"{"n":1.5,"s":"y","t":"x"}"#)), 1.0 / 3.0);
    near(Some(extent(r#"{"n":1.5,"s":"y","t":"y"}"#)), 2.0 / 3.0);
    near(Some(extent(r#"{"n":1.5,"s":"x","t":"x"}"#)), 0.0);
    assert!(extent(r#"{"n":9,"s":"x","t":"x"}"#) > 0.99);
}

#[test]
fn a_report_is_bounded_and_serialises() {
    let key = "k".repeat(5000);
    let found =
        auto(&answer(OTHER, &format!(r#"{{"{key}":1}}"#)), &answer(OTHER, &format!(r#"{{"{key}":2}}"#)));
    assert_eq!(found.worst.as_ref().unwrap().at.as_ref().unwrap().len(), 256);
    let found = auto(&tensor("FP32", "[1]", "[1]"), &tensor("FP32", "[1]", "[2]"));
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["reason"], "numeric");
    assert_eq!(json["worst"]["output"], "y");
    assert_eq!(json["worst"]["at"], "0");
    assert_eq!(json["worst"]["measures"]["maxAbsolute"], 1.0);
    assert_eq!(json["comparators"][0]["comparator"], "numeric");
}
