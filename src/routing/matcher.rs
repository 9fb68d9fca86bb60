//! Which model a request is for.
//!
//! The most specific rule wins, whatever the order of the configuration: rules with a host before
//! rules without, then rules with a header, then a model name before a path prefix, a longer
//! prefix before a shorter one, and "any path" last. A model name that stands in the body (OIP
//! gRPC, OpenAI) is asked for only when a rule that could match needs it.

use http::HeaderMap;

use super::spec::{MatchSpec, ModelSpec, Target};

/// All rules of a table, most specific first.
#[derive(Debug, Clone)]
pub struct Matcher {
    rules: Box<[Rule]>,
    /// Whether any rule asks for a host.
    by_host: bool,
    /// Whether any rule asks for a model's name.
    by_name: bool,
}

#[derive(Debug, Clone)]
struct Rule {
    matches: MatchSpec,
    model: usize,
}

/// The model name that a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// It carries this one, or none.
    Known(Option<&'a str>),
    /// It stands in the body, which has not been read.
    Unread,
}

/// What the rules say of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is for the model at this index.
    Model(usize),
    /// It depends on the name in the body.
    NeedName,
    /// No rule matches.
    Nothing,
}

impl Matcher {
    /// Orders the rules of `models`.
    pub fn new(models: &[ModelSpec]) -> Self {
        let mut rules: Vec<Rule> = models
            .iter()
            .enumerate()
            .flat_map(|(model, spec)| {
                spec.matches.iter().map(move |matches| Rule { matches: matches.clone(), model })
            })
            .collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.matches.specificity()));
        Self::of(rules)
    }

    fn of(rules: Vec<Rule>) -> Self {
        let by_host = rules.iter().any(|rule| rule.matches.host.is_some());
        let by_name = rules.iter().any(|rule| matches!(rule.matches.target, Target::Model(_)));
        Self { rules: rules.into(), by_host, by_name }
    }

    /// Whether [`Matcher::find`] looks at the host at all.
    pub fn by_host(&self) -> bool {
        self.by_host
    }

    /// Whether [`Matcher::find`] looks at the model's name at all.
    pub fn by_name(&self) -> bool {
        self.by_name
    }

    /// Applies the rules. `host` is the authority without port; `path` has no query.
    pub fn find(&self, host: &str, path: &str, headers: &HeaderMap, named: Named<'_>) -> Found {
        for rule in &self.rules {
            let matches = &rule.matches;
            if !matches.host_fits(host) || !matches.header_fits(headers) {
                continue;
            }
            let fits = match (&matches.target, named) {
                (Target::Any, _) => true,
                (Target::PathPrefix(prefix), _) => under(path, prefix),
                (Target::Model(name), Named::Known(found)) => found == Some(name),
                (Target::Model(_), Named::Unread) => return Found::NeedName,
            };
            if fits {
                return Found::Model(rule.model);
            }
        }
        Found::Nothing
    }
}

/// Whether `path` is `prefix` or lies below it, by whole segments.
fn under(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl MatchSpec {
    fn specificity(&self) -> (bool, bool, bool, usize) {
        let (named, length) = match &self.target {
            Target::Model(_) => (true, 0),
            Target::PathPrefix(prefix) => (false, prefix.len() + 1),
            Target::Any => (false, 0),
        };
        (self.host.is_some(), self.header.is_some(), named, length)
    }

    fn host_fits(&self, host: &str) -> bool {
        let Some(wanted) = &self.host else { return true };
        match wanted.strip_prefix("*.") {
            None => host.eq_ignore_ascii_case(wanted),
            Some(parent) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
        }
    }

    fn header_fits(&self, headers: &HeaderMap) -> bool {
        let Some((name, value)) = &self.header else { return true };
        headers.get_all(name).iter().any(|found| found == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn rule(host: Option<&str>, header: Option<(&'static str, &'static str)>, target: Target) -> MatchSpec {
        let header = header.map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
        MatchSpec { host: host.map(str::to_owned), header, target }
    }

    fn matcher(rules: &[(MatchSpec, usize)]) -> Matcher {
        let mut rules: Vec<Rule> =
            rules.iter().cloned().map(|(matches, model)| Rule { matches, model }).collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.matches.specificity()));
        Matcher::of(rules)
    }

    fn find(m: &Matcher, host: &str, path: &str, named: Named<'_>) -> Found {
        let mut headers = HeaderMap::new();
        headers.append("x-model", HeaderValue::from_static("other"));
        headers.append("x-model", HeaderValue::from_static("fraud"));
        m.find(host, path, &headers, named)
    }

    #[test]
    fn the_most_specific_rule_wins_in_any_order() {
        let any = (rule(None, None, Target::Any), 0);
        let short = (rule(None, None, Target::PathPrefix("/a".into())), 1);
        let long = (rule(None, None, Target::PathPrefix("/a/b/".into())), 2);
        let named = (rule(None, None, Target::Model("m".into())), 3);
        let header = (rule(None, Some(("x-model", "fraud")), Target::PathPrefix("/h".into())), 4);
        let host = (rule(Some("*.example"), None, Target::Any), 5);
        for order in [
            vec![any.clone(), short.clone(), long.clone(), named.clone(), header.clone(), host.clone()],
            vec![host, header, named, long, short, any],
        ] {
            let m = matcher(&order);
            let none = Named::Known(None);
            assert_eq!(find(&m, "x", "/zzz", none), Found::Model(0));
            assert_eq!(find(&m, "x", "/a", none), Found::Model(1));
            assert_eq!(find(&m, "x", "/ab", none), Found::Model(0));
            assert_eq!(find(&m, "x", "/a/b", none), Found::Model(2));
            assert_eq!(find(&m, "x", "/a/b/c", none), Found::Model(2));
            assert_eq!(find(&m, "x", "/a", Named::Known(Some("m"))), Found::Model(3));
            assert_eq!(find(&m, "x", "/a", Named::Unread), Found::NeedName);
            assert_eq!(find(&m, "x", "/h/1", Named::Unread), Found::Model(4));
            assert_eq!(find(&m, "v1.EXAMPLE", "/h/1", Named::Unread), Found::Model(5));
            assert_eq!(find(&m, "a.b.example", "/zzz", none), Found::Model(0));
            assert_eq!(find(&m, ".example", "/zzz", none), Found::Model(0));
        }
    }

    #[test]
    fn a_body_is_not_asked_for_when_no_rule_needs_it() {
        let m = matcher(&[(rule(None, None, Target::PathPrefix("/a".into())), 0)]);
        assert_eq!(find(&m, "x", "/a", Named::Unread), Found::Model(0));
        assert_eq!(find(&m, "x", "/b", Named::Unread), Found::Nothing);
    }
}
