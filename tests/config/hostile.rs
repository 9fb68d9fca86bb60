//! Nothing anyone writes makes the reader panic, grow without end or contradict itself.

use proptest::prelude::*;

use super::{FULL, parse, weights};

#[test]
fn yaml_that_grows_without_end_is_refused() {
    let bomb = (0..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, i| {
        let aliases = vec![format!("*a{i}"); 10].join(", ");
        format!("{text}a{n}: &a{n} [{aliases}]\n", n = i + 1)
    });
    let deep_alias = (0..5).fold("a0: &a0 1\n".to_owned(), |text, i| {
        format!("{text}a{n}: &a{n} {}*a{i}{}\n", "[".repeat(30), "]".repeat(30), n = i + 1)
    });
    let many: String = (0..2_000).map(|i| format!("k{i}: 1\n")).collect();
    for (yaml, expected) in [
        (bomb, "aliases expand to too much"),
        (deep_alias, "more than 64 levels"),
        (format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)), "more than 64 levels"),
        ((0..100).map(|i| format!("{}a:\n", " ".repeat(i))).collect(), "more than 64 levels"),
        (many, "more than 1024 keys"),
        ("#".repeat(1024 * 1024 + 1), "more than 1 MiB"),
    ] {
        let errors = parse(&yaml).unwrap_err();
        assert_eq!(errors.problems.len(), 1, "{errors}");
        assert!(errors.to_string().contains(expected), "{errors}");
    }
}

#[test]
fn mistakes_beyond_five_hundred_are_counted() {
    let item = "- {}\n".repeat(1_000);
    let errors = parse(&format!("models:\n{item}")).unwrap_err();
    assert_eq!((errors.problems.len(), errors.omitted), (500, 1_500));
    assert!(errors.to_string().ends_with("\nand 1500 more"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn text_of_yaml_signs_does_not_make_the_reader_panic(
        text in "([-:,?&*!|>{}\\[\\]#%@'\" \n\ta0<~]|models|- |: |<<: \\*a|&a ){0,80}",
    ) {
        let _ = parse(&text);
    }

    #[test]
    fn a_damaged_configuration_gives_the_same_answer_every_time_and_places_every_mistake(
        from in 0usize..FULL.len(), length in 0usize..200, insert in "[-:a1%&*\\[{ \n]{0,4}",
    ) {
        let from = FULL.floor_char_boundary(from);
        let to = FULL.floor_char_boundary((from + length).min(FULL.len()));
        let text = format!("{}{insert}{}", &FULL[..from], &FULL[to..]);
        let result = parse(&text);
        prop_assert_eq!(&result, &parse(&text));
        if let Err(errors) = result {
            prop_assert!(!errors.problems.is_empty());
            let lines = text.lines().count() as u32 + 1;
            for problem in &errors.problems {
                prop_assert!((1..=lines).contains(&problem.line), "{}", problem);
                prop_assert!(problem.column >= 1 && !problem.message.is_empty());
                prop_assert!(!problem.to_string().contains('\n'), "{}", problem);
            }
        }
    }

    #[test]
    fn weights_of_an_accepted_configuration_always_sum_to_everything(
        given in prop::collection::vec(prop::option::of(0u32..=10_000), 1..5), stable in 0usize..5,
    ) {
        let stable = stable % given.len();
        let versions: Vec<_> = given.iter().enumerate().map(|(i, weight)| {
            let weight = weight.map(|w| format!("weight: {w}bp, ")).unwrap_or_default();
            format!("{{name: v{i}, {weight}upstream: {{url: \"http://h:1\"}}}}")
        }).collect();
        let text = format!("models: [{{name: m, stable: v{stable}, versions: [{}]}}]", versions.join(", "));
        let others: u32 = given.iter().enumerate().filter(|(i, _)| *i != stable).filter_map(|(_, w)| *w).sum();
        let fits = given[stable].map_or(others <= 10_000, |w| w + others == 10_000);
        match parse(&text) {
            Ok(config) => {
                prop_assert!(fits);
                prop_assert_eq!(weights(&config).into_iter().map(u32::from).sum::<u32>(), 10_000);
            }
            Err(errors) => {
                prop_assert!(!fits);
                prop_assert!(errors.to_string().contains("the weights sum to"), "{}", errors);
            }
        }
    }
}
