//! Who asks: bearer tokens (RFC 6750) and certificates, and what each of them opens.
//!
//! Without either there is nobody to tell apart, and [`guard`](super::guard) decides by the address
//! alone. With them every path but health and metrics needs one. A token may also come as the password
//! of Basic authentication (RFC 7617): some webhook senders, Flagger among them, know nothing but a
//! URL. Whoever shows both is judged by the token: it was meant for this request.
//!
//! Deliberately absent: sessions, expiry and lock-outs. A token is long enough not to be guessed, and
//! a lock-out would be a way to keep operators from rolling back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::base64;
use crate::certs::names::Names;
use crate::config::{AdminClient, AdminRole, AdminToken};

/// Who asks when nobody is told apart.
const LOCAL: &str = "local";

/// Between two lines about failed logins.
const QUIET: Duration = Duration::from_secs(10);

/// Who may ask, and who tried in vain.
#[derive(Debug)]
pub(super) struct Access {
    tokens: Vec<Token>,
    clients: Vec<AdminClient>,
    denials: Denials,
    /// Connections that had to make room for others.
    pub(super) displaced: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Token {
    name: String,
    role: AdminRole,
    digest: [u8; SHA256_OUTPUT_LEN],
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The name of the token or of the certificate's owner, or `local`.
    pub(super) name: String,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    /// There is no token, nor a certificate that somebody is known by.
    NoToken,
    /// Nobody has this token.
    UnknownToken,
    /// Who it is may only read.
    Role,
}

impl Denial {
    /// Every denial.
    pub(super) const ALL: [Self; 3] = [Self::NoToken, Self::UnknownToken, Self::Role];

    /// The word in metrics and logs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::UnknownToken => "unknown_token",
            Self::Role => "role",
        }
    }

    /// What whoever asked is told.
    pub(super) fn line(self) -> &'static str {
        match self {
            Self::NoToken => {
                "a token or a known certificate is needed here: send \"Authorization: Bearer TOKEN\""
            }
            Self::UnknownToken => "this token is not known here",
            Self::Role => "who may only look cannot change anything: that takes the role `operate`",
        }
    }

    /// The challenge of RFC 6750 section 3.
    pub(super) fn challenge(self) -> &'static str {
        match self {
            Self::NoToken => "Bearer realm=\"switchback\"",
            Self::UnknownToken => "Bearer realm=\"switchback\", error=\"invalid_token\"",
            Self::Role => "Bearer realm=\"switchback\", error=\"insufficient_scope\"",
        }
    }
}

impl Access {
    /// For these tokens and certificates; without any, whoever gets this far is `local` and may do
    /// everything.
    pub(super) fn new(tokens: &[AdminToken], clients: &[AdminClient]) -> Self {
        let token = |token: &AdminToken| Token {
            name: token.name.clone(),
            role: token.role,
            digest: sha256(token.secret.expose().as_bytes()),
        };
        let tokens = tokens.iter().map(token).collect();
        Self { tokens, clients: clients.to_vec(), denials: Denials::default(), displaced: Arc::default() }
    }

    /// Whether callers are told apart.
    pub(super) fn has_callers(&self) -> bool {
        !self.tokens.is_empty() || !self.clients.is_empty()
    }

    /// Who asks for this, if they may; `shown` are the names in the certificate that they have shown.
    ///
    /// # Errors
    /// Why they may not. It is counted, and logged now and then.
    pub(super) fn caller(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        shown: Option<&Names>,
    ) -> Result<Caller, Denial> {
        if !self.has_callers() {
            return Ok(Caller { name: LOCAL.to_owned() });
        }
        let by_certificate = || {
            let shown = shown?;
            let client = self.clients.iter().find(|client| shown.fits(&client.names))?;
            Some((&client.name, client.role))
        };
        let found = match presented(headers) {
            None => by_certificate().ok_or(Denial::NoToken),
            Some(secret) => {
                self.find(&secret).map(|token| (&token.name, token.role)).ok_or(Denial::UnknownToken)
            }
        };
        let allowed = found.and_then(|(name, role)| match role >= needed(method, path) {
            true => Ok(Caller { name: name.clone() }),
            false => Err(Denial::Role),
        });
        allowed.inspect_err(|denial| self.denials.note(*denial, path))
    }

    /// How often somebody was not let in, and why.
    pub(super) fn denied(&self, denial: Denial) -> u64 {
        self.denials.cell(denial).load(Ordering::Relaxed)
    }

    /// The token with this secret. Looks at all of them and at every byte of their digests, so that
    /// the time it takes says nothing.
    fn find(&self, secret: &[u8]) -> Option<&Token> {
        let presented = sha256(secret);
        let mut found = None;
        for token in &self.tokens {
            let differs = token.digest.iter().zip(&presented).fold(0, |seen, (a, b)| seen | (a ^ b));
            if differs == 0 {
                found = Some(token);
            }
        }
        found
    }
}

/// What may be asked with what. Looking is safe, and so is asking a gate, which webhooks do by POST.
fn needed(method: &Method, path: &str) -> AdminRole {
    match method.is_safe() || path.starts_with("/api/v1/gate/") {
        true => AdminRole::Read,
        false => AdminRole::Operate,
    }
}

/// The secret of a request: a bearer token, or the password of Basic authentication.
fn presented(headers: &HeaderMap) -> Option<Vec<u8>> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return (!rest.is_empty()).then(|| rest.as_bytes().to_vec());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = base64::decode(rest)?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        return pair.get(colon + 1..).map(<[u8]>::to_vec);
    }
    None
}

fn sha256(bytes: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut out = [0; SHA256_OUTPUT_LEN];
    // Both are 32 bytes: zip copies all of them.
    out.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// Who was not let in.
#[derive(Debug, Default)]
struct Denials {
    counts: [AtomicU64; Denial::ALL.len()],
    log: Mutex<Log>,
}

/// When failed logins were last logged, and how many were not since.
#[derive(Debug, Default)]
struct Log {
    last: Option<Instant>,
    silent: u64,
}

impl Denials {
    fn cell(&self, denial: Denial) -> &AtomicU64 {
        let [no_token, unknown, role] = &self.counts;
        match denial {
            Denial::NoToken => no_token,
            Denial::UnknownToken => unknown,
            Denial::Role => role,
        }
    }

    /// Counts, and logs at most one line in [`QUIET`]: whoever tries a million tokens should not
    /// fill the disk as well.
    fn note(&self, denial: Denial, path: &str) {
        self.cell(denial).fetch_add(1, Ordering::Relaxed);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.last.is_some_and(|last| last.elapsed() < QUIET) {
            log.silent = log.silent.saturating_add(1);
            return;
        }
        let silent = std::mem::take(&mut log.silent);
        log.last = Some(Instant::now());
        drop(log);
        tracing::warn!(
            reason = denial.as_str(),
            path,
            others = silent,
            "somebody was not let into the admin API"
        );
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::notify::Secret;

    fn access() -> Access {
        let token = |name: &str, role, secret: &str| AdminToken {
            name: name.to_owned(),
            role,
            secret: Secret::new(secret),
        };
        Access::new(
            &[
                token("eye", AdminRole::Read, "0123456789abcdef-eye"),
                token("ci", AdminRole::Operate, "0123456789abcdef-ci"),
            ],
            &[],
        )
    }

    fn ask(access: &Access, method: Method, path: &str, authorization: &str) -> Result<String, Denial> {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
        }
        access.caller(&method, path, &headers, None).map(|caller| caller.name)
    }

    #[test]
    fn a_token_opens_what_its_role_says_and_names_who_asks() {
        let access = access();
        let (eye, ci) = ("Bearer 0123456789abcdef-eye", "bearer 0123456789abcdef-ci");
        assert_eq!(ask(&access, Method::GET, "/api/v1/status", eye), Ok("eye".to_owned()));
        assert_eq!(ask(&access, Method::POST, "/api/v1/rollouts", eye), Err(Denial::Role));
        assert_eq!(ask(&access, Method::POST, "/api/v1/rollouts", ci), Ok("ci".to_owned()));
        assert_eq!(ask(&access, Method::POST, "/api/v1/gate/fraud", eye), Ok("eye".to_owned()));
        // `printf 'flagger:0123456789abcdef-eye' | base64`
        let basic = "Basic ZmxhZ2dlcjowMTIzNDU2Nzg5YWJjZGVmLWV5ZQ==";
        assert_eq!(ask(&access, Method::POST, "/api/v1/gate/fraud", basic), Ok("eye".to_owned()));
        assert_eq!(access.denied(Denial::Role), 1);
    }

    #[test]
    fn what_is_no_token_opens_nothing_and_is_counted() {
        let access = access();
        for (authorization, denial) in [
            ("", Denial::NoToken),
            ("Bearer", Denial::NoToken),
            ("Bearer ", Denial::NoToken),
            ("Digest x", Denial::NoToken),
            ("Basic !!!!", Denial::NoToken),
            ("Basic bm9jb2xvbg==", Denial::NoToken),
            ("Bearer 0123456789abcdef", Denial::UnknownToken),
            ("Bearer 0123456789abcdef-ci2", Denial::UnknownToken),
            ("Bearer ci", Denial::UnknownToken),
        ] {
            assert_eq!(ask(&access, Method::GET, "/", authorization), Err(denial), "{authorization}");
        }
        assert_eq!((access.denied(Denial::NoToken), access.denied(Denial::UnknownToken)), (6, 3));
    }

    #[test]
    fn without_tokens_everybody_is_local() {
        let access = Access::new(&[], &[]);
        assert_eq!(ask(&access, Method::POST, "/api/v1/rollouts", ""), Ok("local".to_owned()));
    }

    #[test]
    fn a_certificate_opens_what_its_owner_may_and_a_token_beside_it_is_what_counts() {
        let of = |names: &[&str]| {
            let params = rcgen::CertificateParams::new(vec![]).map(|mut params| {
                let uri = |name: &&str| rcgen::SanType::URI((*name).try_into().unwrap());
                params.subject_alt_names = names.iter().map(uri).collect();
                params
            });
            let key = rcgen::KeyPair::generate().unwrap();
            Names::of(params.unwrap().self_signed(&key).unwrap().der())
        };
        let client = |name: &str, role, rule: &str| AdminClient {
            name: name.to_owned(),
            role,
            names: vec![rule.parse().unwrap()],
        };
        let secret = Secret::new("0123456789abcdef-eye");
        let tokens = [AdminToken { name: "eye".to_owned(), role: AdminRole::Read, secret }];
        let access = Access::new(
            &tokens,
            &[
                client("ops", AdminRole::Operate, "spiffe://c/ops/*"),
                client("dash", AdminRole::Read, "spiffe://c/dash"),
            ],
        );
        let ask = |method: Method, names: &[&str], token: bool| {
            let mut headers = HeaderMap::new();
            if token {
                let value = HeaderValue::from_static("Bearer 0123456789abcdef-eye");
                headers.insert(AUTHORIZATION, value);
            }
            let shown = of(names);
            access.caller(&method, "/api/v1/rollouts", &headers, Some(&shown)).map(|caller| caller.name)
        };
        assert_eq!(ask(Method::POST, &["spiffe://c/ops/1"], false), Ok("ops".to_owned()));
        assert_eq!(ask(Method::GET, &["spiffe://c/dash"], false), Ok("dash".to_owned()));
        assert_eq!(ask(Method::POST, &["spiffe://c/dash"], false), Err(Denial::Role));
        assert_eq!(ask(Method::GET, &["spiffe://c/other"], false), Err(Denial::NoToken));
        assert_eq!(ask(Method::POST, &["spiffe://c/ops/1"], true), Err(Denial::Role));
        let nobody = access.caller(&Method::GET, "/", &HeaderMap::new(), None);
        assert_eq!(nobody, Err(Denial::NoToken));
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert!(!format!("{:?}", access()).contains("0123456789abcdef"));
    }
}
