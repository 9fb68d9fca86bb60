//! `switchback plan`: what a policy would find, how fast and at what risk, before the first request.

use std::path::PathBuf;

use clap::Args;

use crate::config;
use crate::control::rollouts::spec::RolloutSpec;
use crate::rollout::plan::{Assumptions, Forecast, MAX_RUNS, plan as forecast};

use super::exit::{Exit, Failure};
use super::format::{self, Format, markdown, markdown_table, table};
use super::numbers::{grouped, percent, share};
use super::say;

pub(super) const EXAMPLES: &str = "\
  switchback plan --config switchback.yaml --model fraud --rps 40 --error-rate 0.5%

No sidecar is asked. The formulas say when a harm is found (with 80 % probability) and when a healthy
candidate passes (95 %); the simulation plays whole rollouts with a seed and counts how they end.
Both speak of errors: latency and divergence depend on more than one number.";

/// What is planned with.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Configuration file (YAML) with the policy, under the model's `rollout`.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The model. May be left out where only one has a policy.
    #[arg(short, long)]
    model: Option<String>,
    /// Requests per second of the model, all versions together.
    #[arg(long, value_name = "N")]
    rps: f64,
    /// Share of the stable version's requests that fail.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "1%")]
    error_rate: f64,
    /// Rollouts to play for each ratio of error rates, at most 10000. 0: formulas only.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_RUNS)))]
    runs: u32,
    /// Seed of the simulation.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How the result looks.
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// Plans.
pub(super) fn plan(args: &PlanArgs) -> Result<Exit, Failure> {
    if args.output == Format::Junit {
        return Err(args.output.unfit("text, json, yaml or markdown"));
    }
    let config = config::load(&args.config).map_err(|errors| Failure::error(errors.to_string()))?;
    let spec = find(&config.rollouts, args.model.as_deref())?;
    let PlanArgs { rps, error_rate, runs, seed, .. } = *args;
    let forecast = forecast(&spec.policy, &Assumptions { rps, error_rate, runs, seed })
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let text = match args.output {
        Format::Json => format::json(&forecast)?,
        Format::Yaml => format::yaml(&forecast)?,
        Format::Markdown => write(spec.model.as_str(), &forecast, true),
        Format::Text | Format::Junit => write(spec.model.as_str(), &forecast, false),
    };
    Ok(if say::result(&text) { Exit::Done } else { Exit::Error })
}

fn find<'a>(specs: &'a [RolloutSpec], model: Option<&str>) -> Result<&'a RolloutSpec, Failure> {
    let names: Vec<&str> = specs.iter().map(|spec| spec.model.as_str()).collect();
    match (model, specs) {
        (_, []) => Err(Failure::error("no model of this configuration has a `rollout`")),
        (None, [one]) => Ok(one),
        (None, _) => Err(Failure::new(Exit::Usage, format!("name one with --model: {}", names.join(", ")))),
        (Some(model), specs) => specs.iter().find(|spec| spec.model.as_str() == model).ok_or_else(|| {
            Failure::error(format!("model {model:?} has no `rollout`; these have: {}", names.join(", ")))
        }),
    }
}

fn write(model: &str, forecast: &Forecast, as_markdown: bool) -> String {
    let assumed = &forecast.assumptions;
    let heading = if as_markdown { "## " } else { "" };
    let tabled = |rows: Vec<Vec<String>>| if as_markdown { markdown_table(&rows) } else { table(&rows) };
    let say = |text: &str| if as_markdown { markdown(text) } else { text.to_owned() };
    let mut text = format!(
        "{heading}{}\n\n{}\n",
        say(&format!("{model} at {} requests/s, of which {} fail", assumed.rps, percent(assumed.error_rate))),
        say(&format!(
            "A candidate that is no worse is rolled back in at most {} of rollouts, for errors in at most {}.",
            percent(forecast.false_rollback),
            percent(forecast.false_rollback_errors)
        ))
    );
    if !forecast.steps.is_empty() {
        text.push_str(&format!(
            "\n{heading}How long steps take, and when they find how many times the errors\n\n"
        ));
        text.push_str(&tabled(steps(forecast)));
    }
    if !forecast.played.is_empty() {
        let runs = forecast.played.first().map_or(0, |played| played.runs);
        text.push_str(&format!("\n{heading}How {runs} rollouts end, played with seed {}\n\n", assumed.seed));
        text.push_str(&tabled(played(forecast)));
    }
    for remark in &forecast.remarks {
        text.push_str(&format!("\n- {}\n", say(remark)));
    }
    text
}

fn steps(forecast: &Forecast) -> Vec<Vec<String>> {
    let mut head = ["step", "weight", "candidate", "healthy passes"].map(str::to_owned).to_vec();
    let ratios = forecast.steps.first().map(|step| step.finds.as_slice()).unwrap_or_default();
    head.extend(ratios.iter().map(|finding| format!("{}×", finding.ratio)));
    head.push("least by deadline".to_owned());
    let mut rows = vec![head];
    for step in &forecast.steps {
        let mut row = vec![
            (step.step + 1).to_string(),
            step.weight.to_string(),
            format!("{:.1}/s", step.candidate_rps),
            step.passes.map_or("never".to_owned(), |cost| cost.time.to_string()),
        ];
        row.extend(
            step.finds.iter().map(|finding| finding.cost.map_or("-".to_owned(), |c| c.time.to_string())),
        );
        row.push(step.smallest_by_deadline.map_or("-".to_owned(), |ratio| format!("{ratio:.1}×")));
        rows.push(row);
    }
    rows
}

fn played(forecast: &Forecast) -> Vec<Vec<String>> {
    let head =
        ["errors", "passed", "rolled back", "inconclusive", "after requests", "after time", "passes after"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for played in &forecast.played {
        let dash = || "-".to_owned();
        let share = |count: u32| percent(f64::from(count) / f64::from(played.runs.max(1)));
        rows.push(vec![
            if played.ratio == 1.0 { "the same".to_owned() } else { format!("{}×", played.ratio) },
            share(played.passed),
            share(played.rolled_back),
            share(played.inconclusive),
            played.requests_to_roll_back.map_or_else(dash, grouped),
            played.time_to_roll_back.map_or_else(dash, |time| time.to_string()),
            played.time_to_pass.map_or_else(dash, |time| time.to_string()),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CONFIG: &str = "\
listeners: [{name: main, address: '127.0.0.1:0'}]
models:
  - name: fraud
    versions: [{name: v1, upstream: {url: 'http://127.0.0.1:1'}}]
    rollout: {steps: [{setWeight: 5%}, {bake: 1h}], analysis: {metrics: [{errorRate: {}}]}}
";

    #[test]
    fn a_forecast_is_shown_with_its_risks_its_steps_and_its_remarks() {
        let config = crate::config::parse(CONFIG, Path::new("")).unwrap();
        let policy = &find(&config.rollouts, None).unwrap().policy;
        let assumptions = Assumptions { rps: 100.0, error_rate: 0.01, runs: 3, seed: 1 };
        let forecast = forecast(policy, &assumptions).unwrap();
        let text = write("fraud", &forecast, false);
        for part in [
            "fraud at 100 requests/s, of which 1.0% fail",
            "rolled back in at most",
            "1     5%      5.0/s",
            "How 3 rollouts end, played with seed 1",
            "the same",
            "holdback",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        let markdown = write("fraud", &forecast, true);
        assert!(markdown.starts_with("## fraud at") && markdown.contains("| 1 | 5% | 5.0/s |"), "{markdown}");
    }

    #[test]
    fn the_model_must_be_one_that_has_a_policy() {
        let config = crate::config::parse(CONFIG, Path::new("")).unwrap();
        assert!(find(&config.rollouts, Some("other")).unwrap_err().message.contains("fraud"));
        assert_eq!(find(&config.rollouts, Some("fraud")).unwrap().model.as_str(), "fraud");
        assert!(find(&[], None).is_err());
    }
}
