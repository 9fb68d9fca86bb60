//! JSON pointers (RFC 6901) in which `*` stands for any one key or index.

use crate::inference::answer::{Json, index};

/// One step into a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// To the member of that key.
    Key(&'a str),
    /// To the item of that index.
    Index(usize),
}

/// A pointer with wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Any,
    Only { key: String, index: Option<usize> },
}

impl Token {
    fn fits(&self, step: Step<'_>) -> bool {
        match (self, step) {
            (Self::Any, _) => true,
            (Self::Only { key, .. }, Step::Key(here)) => key == here,
            (Self::Only { index, .. }, Step::Index(here)) => *index == Some(here),
        }
    }
}

impl Pattern {
    /// The pattern that `text` writes; none when it is neither empty nor starts with `/`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        let tokens = text.strip_prefix('/')?.split('/').map(|token| match token {
            "*" => Token::Any,
            _ => Token::Only { key: token.replace("~1", "/").replace("~0", "~"), index: index(token) },
        });
        Some(Self(tokens.collect()))
    }

    /// The patterns that `texts` write, others left out.
    pub(super) fn parse_all<'t>(texts: impl IntoIterator<Item = &'t String>) -> Vec<Self> {
        texts.into_iter().filter_map(|text| Self::parse(text)).collect()
    }

    /// The pattern of its first `steps` steps, which covers what it covers and more.
    pub(super) fn above(&self, steps: usize) -> Self {
        Self(self.0.iter().take(steps).cloned().collect())
    }

    /// Whether it is exactly this place.
    pub(super) fn is(&self, path: &[Step<'_>]) -> bool {
        self.0.len() == path.len() && self.covers(path)
    }

    /// Whether it is this place or one above it.
    pub(super) fn covers(&self, path: &[Step<'_>]) -> bool {
        self.0.len() <= path.len() && self.0.iter().zip(path).all(|(token, step)| token.fits(*step))
    }

    /// Whether the place that `pointer` writes is at or below it.
    pub(super) fn covers_pointer(&self, pointer: &str) -> bool {
        let Some(place) = Self::parse(pointer) else { return false };
        let fits = |(token, here): (&Token, &Token)| match here {
            Token::Any => *token == Token::Any,
            Token::Only { key, index } => {
                token.fits(Step::Key(key)) || index.is_some_and(|index| token.fits(Step::Index(index)))
            }
        };
        self.0.len() <= place.0.len() && self.0.iter().zip(&place.0).all(fits)
    }

    /// Calls `visit` with every value of `json` at this pattern and the pointer to it, at most
    /// `most` times.
    pub(super) fn find<'j>(&self, json: &'j Json, most: usize) -> Vec<(String, &'j Json)> {
        let mut found = vec![(String::new(), json)];
        for token in &self.0 {
            let mut below = Vec::new();
            for (path, value) in found {
                let left = most.saturating_sub(below.len());
                match value {
                    Json::Array(items) => below.extend(
                        items
                            .iter()
                            .enumerate()
                            .filter(|(at, _)| token.fits(Step::Index(*at)))
                            .take(left)
                            .map(|(at, item)| (format!("{path}/{at}"), item)),
                    ),
                    Json::Object(members) => below.extend(
                        members
                            .iter()
                            .filter(|(key, _)| token.fits(Step::Key(key)))
                            .take(left)
                            .map(|(key, item)| (format!("{path}/{}", escaped(key)), item)),
                    ),
                    _ => {}
                }
            }
            found = below;
        }
        found
    }

    /// Replaces every value of `json` at this pattern. Says how many there were.
    pub(super) fn replace(&self, json: &mut Json, with: &Json) -> usize {
        fn descend(tokens: &[Token], json: &mut Json, with: &Json) -> usize {
            let Some((token, rest)) = tokens.split_first() else {
                *json = with.clone();
                return 1;
            };
            match json {
                Json::Array(items) => items
                    .iter_mut()
                    .enumerate()
                    .filter(|(at, _)| token.fits(Step::Index(*at)))
                    .map(|(_, item)| descend(rest, item, with))
                    .sum(),
                Json::Object(members) => members
                    .iter_mut()
                    .filter(|(key, _)| token.fits(Step::Key(key)))
                    .map(|(_, item)| descend(rest, item, with))
                    .sum(),
                _ => 0,
            }
        }
        descend(&self.0, json, with)
    }
}

/// The pointer that a path is.
pub(super) fn pointer(path: &[Step<'_>]) -> String {
    path.iter()
        .map(|step| match step {
            Step::Key(key) => format!("/{}", escaped(key)),
            Step::Index(at) => format!("/{at}"),
        })
        .collect()
}

/// The pointer to a member of the outermost object.
pub(super) fn member(key: &str) -> String {
    format!("/{}", escaped(key))
}

/// A key as a pointer writes it.
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use crate::inference::answer::{Limits, parse_json};

    use super::*;

    fn json(text: &str) -> Json {
        parse_json(text.as_bytes(), &Limits::default()).unwrap()
    }

    fn found(pattern: &str, text: &str) -> Vec<String> {
        let json = json(text);
        Pattern::parse(pattern).unwrap().find(&json, 100).into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn a_star_is_any_one_key_or_index() {
        let text = r#"{"a":[{"x":1,"y":2},{"x":3}],"b":{"x":4},"*":5,"m/n":{"~":6},"0":7}"#;
        assert_eq!(found("/a/*/x", text), ["/a/0/x", "/a/1/x"]);
        assert_eq!(found("/*/x", text), ["/b/x"]);
        assert_eq!(found("/a/1", text), ["/a/1"]);
        assert_eq!(found("/a/01", text), Vec::<String>::new());
        assert_eq!(found("/0", text), ["/0"]);
        assert_eq!(found("/m~1n/~0", text), ["/m~1n/~0"]);
        assert_eq!(found("", text), [""]);
        assert_eq!(Pattern::parse("a"), None);
        assert_eq!(Pattern::parse("/a/*").unwrap().find(&json(text), 1).len(), 1);
    }

    #[test]
    fn a_pattern_covers_what_is_below_it() {
        let pattern = Pattern::parse("/a/*").unwrap();
        let path = [Step::Key("a"), Step::Index(3), Step::Key("x")];
        assert!(pattern.covers(&path) && !pattern.is(&path) && pattern.is(&path[..2]));
        assert!(!pattern.covers(&path[..1]));
        assert_eq!(pointer(&path), "/a/3/x");
        assert!(
            pattern.covers_pointer("/a/3/x") && !pattern.covers_pointer("/a") && !pattern.covers_pointer("x")
        );
        assert!(Pattern::parse("/a/3").unwrap().covers_pointer("/a/3"));
    }

    #[test]
    fn values_are_replaced_where_the_pattern_fits() {
        let mut value = json(r#"{"a":[{"x":1},{"x":2}],"x":3}"#);
        assert_eq!(Pattern::parse("/a/*/x").unwrap().replace(&mut value, &Json::string("*")), 2);
        assert_eq!(value.to_string(), r#"{"a":[{"x":"*"},{"x":"*"}],"x":3}"#);
    }
}
