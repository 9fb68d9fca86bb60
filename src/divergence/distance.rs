//! Distances of texts: edit distance and overlap of tokens, both as shares of the texts' lengths
//! and in bounded time.

use std::collections::HashMap;
use std::hash::Hash;

/// Longest text, in characters, whose edit distance is counted in characters.
const MAX_CHARS: usize = 2048;
/// Most tokens whose edit distance is counted; what is equal at both ends is not counted in.
const MAX_TOKENS: usize = 2048;

/// `text` with single spaces, and none at its ends.
pub(super) fn normalise(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Edit distance (Levenshtein) of two normalised texts as a share of the longer one: 0 the same, 1
/// nothing in common.
///
/// Short texts are compared by characters, longer ones by words. Where even the words that differ
/// are too many, the share of word pairs that the texts do not have in common stands for it: time
/// is then linear, and the same texts still have distance 0.
pub(super) fn edit_distance(a: &str, b: &str) -> f64 {
    if a == b {
        return 0.0;
    }
    let (a_chars, b_chars): (Vec<char>, Vec<char>) = (head(a), head(b));
    if a_chars.len() <= MAX_CHARS && b_chars.len() <= MAX_CHARS {
        return share(levenshtein(&a_chars, &b_chars), a_chars.len().max(b_chars.len()));
    }
    let (a_words, b_words): (Vec<&str>, Vec<&str>) = (a.split(' ').collect(), b.split(' ').collect());
    let (a_rest, b_rest) = trim(&a_words, &b_words);
    if a_rest.len() <= MAX_TOKENS && b_rest.len() <= MAX_TOKENS {
        return share(levenshtein(a_rest, b_rest), a_words.len().max(b_words.len()));
    }
    1.0 - dice(a_words.windows(2).collect(), b_words.windows(2).collect())
}

/// Overlap of the tokens of two texts (Sørensen–Dice over multisets): 1 the same tokens in any
/// order, 0 none in common. Tokens are runs of letters and digits, and single other characters.
pub(super) fn token_overlap(a: &str, b: &str) -> f64 {
    dice(tokens(a), tokens(b))
}

/// The characters of a text, one more than are looked at if there are more.
fn head(text: &str) -> Vec<char> {
    text.chars().take(MAX_CHARS + 1).collect()
}

fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = first.is_alphanumeric();
        let end = if word {
            rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if !first.is_whitespace() {
            tokens.push(token);
        }
        rest = after;
    }
    tokens
}

/// Twice what two multisets have in common, over what they have; 1 for two empty ones.
fn dice<T: Eq + Hash>(a: Vec<T>, b: Vec<T>) -> f64 {
    let all = a.len() + b.len();
    let mut left: HashMap<T, usize> = HashMap::with_capacity(a.len());
    for token in a {
        *left.entry(token).or_default() += 1;
    }
    let mut common = 0;
    for token in b {
        if let Some(count) = left.get_mut(&token).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if all == 0 { 1.0 } else { share(2 * common, all) }
}

#[expect(clippy::cast_precision_loss, reason = "lengths of texts, far below 2^53")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What is left without equal beginnings and ends.
fn trim<'a, T: PartialEq>(a: &'a [T], b: &'a [T]) -> (&'a [T], &'a [T]) {
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (a.get(start..).unwrap_or_default(), b.get(start..).unwrap_or_default());
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    (a.get(..a.len() - end).unwrap_or_default(), b.get(..b.len() - end).unwrap_or_default())
}

/// Insertions, deletions and substitutions from `a` to `b`, by one row of the table at a time.
fn levenshtein<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let (a, b) = trim(a, b);
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (done, from) in a.iter().enumerate() {
        // `diagonal` is the field above and to the left of the one to come, `left` the one before.
        let mut diagonal = done;
        let mut left = done + 1;
        let (first, rest) = match row.split_first_mut() {
            Some(parts) => parts,
            None => return a.len(),
        };
        *first = left;
        for (field, to) in rest.iter_mut().zip(b) {
            let substituted = diagonal + usize::from(from != to);
            diagonal = *field;
            left = substituted.min(diagonal + 1).min(left + 1);
            *field = left;
        }
    }
    row.last().copied().unwrap_or(0)
}
