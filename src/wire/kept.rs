//! The head of a request that is sent more than once: to a shadow, to stable, or again.

use http::{HeaderMap, Method, Uri, Version, request};

/// What is kept of a request's head. Extensions are not: they belong to the connection it came on.
#[derive(Debug, Clone)]
pub struct KeptHead {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

impl KeptHead {
    /// What is needed to send the request of `head` again.
    pub fn of(head: &request::Parts) -> Self {
        Self {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            headers: head.headers.clone(),
        }
    }

    /// Its header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The head of the next request, without extensions.
    pub fn into_parts(self) -> request::Parts {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = self.method;
        head.uri = self.uri;
        head.version = self.version;
        head.headers = self.headers;
        head
    }
}
