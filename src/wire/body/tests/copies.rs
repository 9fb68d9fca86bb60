//! Copies: bounds, budgets, and what is let go of when.

use super::*;

async fn copy(script: Script, capture: Capture) -> (Bytes, Capture) {
    let capture = Rc::new(RefCell::new(capture));
    let primary = Tee::new(script, Tap::new(Rc::clone(&capture))).collect().await.unwrap().to_bytes();
    (primary, Rc::into_inner(capture).unwrap().into_inner())
}

#[tokio::test]
async fn a_copy_at_the_limit_is_whole_and_one_byte_more_is_none() {
    for hint in [Hint::Unknown, Hint::Exact] {
        for (max, state) in [
            (2, CaptureState::Overflow(Overflow::TooLarge)),
            (3, CaptureState::Complete),
            (4, CaptureState::Complete),
        ] {
            let script = Script::chunks(&["ab", "c"], hint);
            let capture = Capture::new(max, None).expecting(&script.size_hint());
            let (primary, mut capture) = copy(script, capture).await;
            assert_eq!(primary, "abc", "the primary goes on");
            assert_eq!(capture.state(), state);
            assert_eq!(capture.complete().map(|body| body.to_bytes()), (max >= 3).then(|| primary.clone()));
        }
    }
}

#[test]
fn a_body_announced_too_long_is_given_up_before_it_comes() {
    let capture = Capture::new(2, None).expecting(&SizeHint::with_exact(3));
    assert_eq!(capture.state(), CaptureState::Overflow(Overflow::TooLarge));
}

#[tokio::test]
async fn a_spent_budget_gives_up_the_copy_and_gets_everything_back() {
    let budget = Rc::new(Budget::new(30_000));
    let large = Bytes::from(vec![1; 20_000]);
    let script = Script::new([data("small"), Step::Data(large.clone()), Step::Data(large)], Hint::Unknown);
    let (primary, mut capture) = copy(script, Capture::new(1 << 20, Some(Rc::clone(&budget)))).await;
    assert_eq!(primary.len(), 40_005);
    assert_eq!(capture.state(), CaptureState::Overflow(Overflow::BudgetExhausted));
    assert!(capture.complete().is_none());
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn the_budget_is_held_until_the_last_replay_is_over() {
    let budget = Rc::new(Budget::new(1000));
    let script = Script::new([data("abc"), Step::Trailers(some_trailers())], Hint::Unknown);
    let (_, mut capture) = copy(script, Capture::new(100, Some(Rc::clone(&budget)))).await;
    let body = capture.complete().unwrap();
    drop(capture);
    let held = budget.used();
    assert!(held >= 3);
    let replay = Source::<Script>::replay(body.clone());
    drop(body);
    assert_eq!(budget.used(), held);
    assert_eq!(replay.size_hint().exact(), None, "a known length would leave no place for trailers");
    let mut replay = replay;
    let chunk = replay.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(!replay.is_end_stream(), "the trailers are still to come");
    let all = replay.collect().await.unwrap();
    assert_eq!(all.trailers(), Some(&some_trailers()));
    assert_eq!(chunk, "abc");
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn small_chunks_are_copied_so_that_they_pin_nothing_and_large_ones_are_shared() {
    let buffer = Bytes::from(vec![5; 100_000]);
    let (small, large) = (buffer.slice(..100), buffer.slice(100..60_100));
    let script = Script::new([Step::Data(small), Step::Data(large)], Hint::Unknown);
    let (_, mut capture) = copy(script, Capture::new(1 << 20, None)).await;
    let body = capture.complete().unwrap();
    let inside = |chunk: &Bytes| buffer.as_ptr_range().contains(&chunk.as_ptr());
    assert_eq!(body.chunks().iter().map(inside).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn a_trickle_costs_the_budget_about_what_it_holds() {
    let budget = Rc::new(Budget::new(usize::MAX));
    let script = Script::new((0..10_000).map(|_| data("x")), Hint::Unknown);
    let (_, mut capture) = copy(script, Capture::new(1 << 20, Some(Rc::clone(&budget)))).await;
    let body = capture.complete().unwrap();
    assert_eq!((body.len(), body.chunks().len()), (10_000, 1));
    assert!((10_000..=20_064).contains(&budget.used()), "{}", budget.used());
}

#[tokio::test]
async fn an_abandoned_or_failed_body_aborts_its_copy_and_frees_it() {
    let budget = Rc::new(Budget::new(1000));
    let capture = Rc::new(RefCell::new(Capture::new(100, Some(Rc::clone(&budget)))));
    let mut body = Tee::new(Script::chunks(&["a", "b"], Hint::Exact), Tap::new(Rc::clone(&capture)));
    body.frame().await.unwrap().unwrap();
    assert_eq!(capture.borrow().state(), CaptureState::Partial);
    assert!(budget.used() > 0);
    drop(body);
    assert_eq!(capture.borrow().state(), CaptureState::Aborted);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn what_was_read_ahead_can_be_replaced() {
    let mut source = Source::stream(Script::chunks(&["one ", "two ", "three"], Hint::Exact));
    assert_eq!(source.read_ahead().await.unwrap().unwrap(), "one ");
    assert_eq!(source.read_ahead().await.unwrap().unwrap(), "two ");
    assert_eq!(source.ahead(), "one two ");
    assert!(source.whole().is_none());
    source.replace_ahead(Bytes::from_static(b"1 2 "));
    assert_eq!(source.size_hint().exact(), Some(9));
    assert_eq!(source.collect().await.unwrap().to_bytes(), "1 2 three");

    let bytes = Source::<Script>::from(Bytes::from_static(b"whole"));
    assert!(bytes.is_whole() && bytes.size_hint().exact() == Some(5));
    assert!(Source::<Script>::from(Bytes::new()).is_end_stream());
}

#[tokio::test]
async fn tiny_chunks_that_are_read_ahead_are_gathered_and_large_ones_are_not_copied() {
    const LARGE: &str = include_str!("../tests.rs");
    let mut chunks = vec!["ab"; 100_000];
    chunks.insert(50_000, LARGE);
    let mut source = Source::stream(Script::chunks(&chunks, Hint::Exact));
    while source.read_ahead().await.unwrap().is_some() {}
    let whole = source.whole().unwrap();
    assert!(whole.chunks().len() <= 10, "{} chunks", whole.chunks().len());
    assert!(whole.to_bytes() == chunks.concat());
}

#[test]
fn bodies_stay_small() {
    assert!(size_of::<Source>() <= 160, "{}", size_of::<Source>());
    assert!(size_of::<IdleTimeout<Source>>() <= size_of::<Source>() + 72);
}
