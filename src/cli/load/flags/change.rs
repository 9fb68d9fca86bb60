//! Flags beside a scenario: they change what they say, and nothing else.

use std::time::Duration;

use serde_json::json;

use super::{Flags, read};
use crate::load::spec::{ArrivalSpec, LoadSpec, Scenario};

impl Flags {
    /// `scenario` with what these flags and the URL say otherwise.
    pub(in crate::cli::load) fn change(
        &self,
        mut scenario: Scenario,
        url: Option<&str>,
    ) -> Result<Scenario, String> {
        let requests =
            ["--format", "--model", "--data", "--body", "--check", "--method", "--compare", "--label"];
        let given = [
            self.format.is_some(),
            self.model.is_some(),
            self.data.is_some(),
            self.body.is_some(),
            !self.check.is_empty(),
            self.method.is_some(),
            !self.compare.is_empty(),
            self.label.is_some(),
        ];
        if let Some((flag, _)) = requests.iter().zip(given).find(|(_, given)| *given) {
            return Err(format!("{flag}: a scenario says what is sent: write it there"));
        }
        // What flags say is read as a scenario of its own, and taken over where something was said.
        let mut said = Flags { format: Some("plain".to_owned()), ..self.copied() };
        if said.slo.is_empty() && !scenario.slos.is_empty() {
            // A search needs a goal to hold; it is the scenario's that will be judged.
            said.slo.push("errors<100%".to_owned());
        }
        let url_of = |scenario: &Scenario| scenario.targets.first().map(|target| target.url.clone());
        let base = url.map(str::to_owned).or_else(|| url_of(&scenario)).unwrap_or_default();
        let other = said.scenario(Some(&base))?;
        if url.is_some() {
            // A path in it stands in front of the scenario's own ones.
            let bare = json!({ "target": base, "requests": [{ "format": "plain" }], "load": { "rate": 1 } });
            match (scenario.targets.as_mut_slice(), read(&bare, "load")?.targets.pop()) {
                ([target], Some(new)) => {
                    target.url = base;
                    target.upstream = new.upstream;
                    target.prefix = new.prefix;
                }
                _ => return Err("URL: the scenario compares two targets: change them there".to_owned()),
            }
        }
        let load =
            std::mem::replace(&mut scenario.load, LoadSpec::Closed { clients: 1, duration: Duration::ZERO });
        scenario.load = self.arrive(load, other.load)?;
        if !self.slo.is_empty() {
            scenario.slos = other.slos;
        }
        if self.warmup.is_some() {
            scenario.warmup = other.warmup;
        }
        if self.timeout.is_some() {
            scenario.limits.timeout = other.limits.timeout;
        }
        if self.threads.is_some() {
            scenario.limits.threads = other.limits.threads;
        }
        if self.max_requests.is_some() {
            scenario.limits.max_requests = other.limits.max_requests;
        }
        if self.seed.is_some() {
            scenario.seed = other.seed;
        }
        if !self.watch.is_empty() {
            scenario.resources = other.resources;
        }
        for target in &mut scenario.targets {
            target.headers.extend(other.requests.iter().flat_map(|request| request.headers.iter().cloned()));
        }
        Ok(scenario)
    }

    /// How requests arrive: as `scenario` says, but for what flags say; `flags` is all that they mean
    /// on their own.
    fn arrive(&self, scenario: LoadSpec, flags: LoadSpec) -> Result<LoadSpec, String> {
        let long = match &scenario {
            LoadSpec::Open { stages, .. } if stages.len() == 1 => stages.first().map(|stage| stage.duration),
            LoadSpec::Closed { duration, .. } => Some(*duration),
            _ => None,
        };
        let kept = long.filter(|_| self.duration.is_none());
        Ok(match (scenario, flags) {
            (LoadSpec::FindMax(mut spec), LoadSpec::FindMax(new)) => {
                spec.to = self.max_rate.map_or(spec.to, |_| new.to);
                spec.from = spec.from.min(spec.to);
                spec.probe = self.duration.as_ref().map_or(spec.probe, |_| new.probe);
                spec.poisson = self.arrivals.as_ref().map_or(spec.poisson, |_| new.poisson);
                LoadSpec::FindMax(spec)
            }
            (_, flags @ LoadSpec::FindMax(_)) => flags,
            (_, LoadSpec::Closed { clients, duration }) => {
                LoadSpec::Closed { clients, duration: kept.unwrap_or(duration) }
            }
            (scenario, LoadSpec::Open { mut stages, arrivals }) if self.rate.is_some() => {
                if let Some(duration) = kept {
                    stages.iter_mut().for_each(|stage| stage.duration = duration);
                }
                let arrivals = match scenario {
                    LoadSpec::Open { arrivals: ArrivalSpec::Constant, .. } if self.arrivals.is_none() => {
                        ArrivalSpec::Constant
                    }
                    _ => arrivals,
                };
                LoadSpec::Open { stages, arrivals }
            }
            (mut scenario, LoadSpec::Open { stages, arrivals }) => {
                if self.duration.is_some() {
                    let wanted = stages.first().map(|stage| stage.duration).unwrap_or_default();
                    match &mut scenario {
                        LoadSpec::Open { stages, .. } if stages.len() == 1 => {
                            stages.iter_mut().for_each(|stage| stage.duration = wanted);
                        }
                        LoadSpec::Closed { duration, .. } => *duration = wanted,
                        LoadSpec::FindMax(spec) => spec.probe = wanted,
                        LoadSpec::Open { .. } => {
                            return Err(
                                "--duration: the scenario's stages or trace have their own: write it \
                                        there"
                                    .to_owned(),
                            );
                        }
                    }
                }
                if self.arrivals.is_some() {
                    match &mut scenario {
                        LoadSpec::Open { arrivals: ArrivalSpec::Trace(_), .. } | LoadSpec::Closed { .. } => {
                            return Err(
                                "--arrivals: the scenario's trace or clients say when requests leave: \
                                        remove it, or give a --rate"
                                    .to_owned(),
                            );
                        }
                        LoadSpec::Open { arrivals: old, .. } => *old = arrivals,
                        LoadSpec::FindMax(spec) => spec.poisson = arrivals == ArrivalSpec::Poisson,
                    }
                }
                scenario
            }
        })
    }

    /// These flags without those that say what is sent.
    fn copied(&self) -> Self {
        Self {
            rate: self.rate,
            duration: self.duration.clone(),
            arrivals: self.arrivals.clone(),
            clients: self.clients,
            find_max: self.find_max,
            max_rate: self.max_rate,
            slo: self.slo.clone(),
            warmup: self.warmup.clone(),
            timeout: self.timeout.clone(),
            header: self.header.clone(),
            watch: self.watch.clone(),
            seed: self.seed,
            threads: self.threads,
            max_requests: self.max_requests,
            ..Self::default()
        }
    }
}
