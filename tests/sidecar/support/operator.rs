//! What an operator does to a running sidecar: weights, reloads, and looking at its figures.

use serde_json::Value;

use super::client::{RawClient, RawResponse};
use super::process::Sidecar;

impl Sidecar {
    /// One request to the admin API, which answers only to names of this machine.
    pub fn ask_admin(&self, method: &str, path: &str, body: &str) -> RawResponse {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
        RawClient::connect(self.admin()).send(head + body).read()
    }

    /// Sends weights for `model`; `weights` is the JSON text of the object.
    pub fn put_weights(&self, model: &str, weights: &str) -> RawResponse {
        let body = format!("{{\"weights\": {weights}}}");
        let path = format!("/api/v1/models/{model}/weights");
        self.ask_admin("PUT", &path, &body)
    }

    /// Gives `canary` so many percent of the traffic of the model `m`, and `stable` the rest.
    pub fn ramp(&self, stable: &str, canary: &str, percent: u32) {
        let weights = format!("{{\"{stable}\": \"{}%\", \"{canary}\": \"{percent}%\"}}", 100 - percent);
        let answer = self.put_weights("m", &weights);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Asks for a reload of the configuration.
    pub fn reload(&self) -> RawResponse {
        self.ask_admin("POST", "/api/v1/config/reload", "")
    }

    /// The status document.
    pub fn status(&self) -> Value {
        self.json("/api/v1/status")
    }

    /// The part of the status document about one version of the first model.
    pub fn version(&self, name: &str) -> Value {
        let status = self.status();
        let versions = status["models"][0]["versions"].as_array().unwrap().clone();
        versions
            .into_iter()
            .find(|v| v["name"] == name)
            .unwrap_or_else(|| panic!("no version {name}: {status}"))
    }

    /// The part of the status document about one mirror of the first model.
    pub fn mirror(&self, to: &str) -> Value {
        let status = self.status();
        let mirrors = status["models"][0]["mirrors"].as_array().unwrap().clone();
        mirrors.into_iter().find(|m| m["to"] == to).unwrap_or_else(|| panic!("no mirror {to}: {status}"))
    }

    /// Copies to `to` that were dropped for `reason`.
    pub fn dropped(&self, to: &str, reason: &str) -> f64 {
        let (version, reason) = (format!("version=\"{to}\""), format!("reason=\"{reason}\""));
        self.metric("switchback_mirror_dropped_total", &[&version, &reason])
    }

    /// A figure of the mirror to `to`: `sent`, `completed`, `eligible`, `sampled`.
    pub fn mirrored(&self, to: &str, what: &str) -> f64 {
        self.metric(&format!("switchback_mirror_{what}_total"), &[&format!("version=\"{to}\"")])
    }

    /// Waits until no copy to `to` is under way any more.
    pub async fn mirror_settled(&self, to: &str) {
        let version = format!("version=\"{to}\"");
        super::until("no copies under way", async || {
            (self.metric("switchback_mirror_in_flight", &[&version]) == 0.0).then_some(())
        })
        .await;
        assert_eq!(self.metric("switchback_mirror_retained_bytes", &[&version]), 0.0);
    }

    /// Finished requests of `version` with this outcome.
    pub fn finished(&self, version: &str, outcome: &str) -> f64 {
        let (version, outcome) = (format!("version=\"{version}\""), format!("outcome=\"{outcome}\""));
        self.metric("switchback_requests_total", &[&version, &outcome])
    }
}

impl RawResponse {
    /// The version that answered.
    pub fn version(&self) -> &str {
        self.header("x-switchback-version").unwrap_or_else(|| panic!("no version named: {self:?}"))
    }
}
