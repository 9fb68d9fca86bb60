//! What is published: tables, and the goals with what was measured.

use std::fmt::Write;

/// One thing that must hold.
#[derive(Debug, Clone)]
pub struct Goal {
    pub what: String,
    pub measured: f64,
    pub at_most: f64,
}

/// One thing that ought to hold and is known not to.
#[derive(Debug, Clone)]
pub struct Miss {
    pub goal: Goal,
    pub why: &'static str,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Report {
    pub tables: Vec<Table>,
    pub goals: Vec<Goal>,
    pub misses: Vec<Miss>,
}

/// A Markdown table with a heading and some words.
#[derive(Debug)]
pub struct Table {
    pub title: String,
    pub words: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Report {
    /// Writes down that `measured` must be at most `at_most`.
    pub fn at_most(&mut self, what: impl Into<String>, measured: f64, at_most: f64) {
        self.goals.push(Goal { what: what.into(), measured, at_most });
    }

    /// Writes down a goal that `measured` does not reach, and why. It must still be at most
    /// `tolerated`; where it reaches the goal after all, it counts as any other.
    pub fn falls_short(
        &mut self,
        what: impl Into<String>,
        measured: f64,
        goal: f64,
        tolerated: f64,
        why: &'static str,
    ) {
        let what = what.into();
        if measured > goal && measured <= tolerated {
            self.misses.push(Miss { goal: Goal { what, measured, at_most: goal }, why });
        } else {
            self.at_most(what, measured, goal);
        }
    }

    /// The goals that are not met, each a line.
    pub fn failures(&self) -> Vec<String> {
        let met = |goal: &&Goal| goal.measured <= goal.at_most;
        let line = |g: &Goal| {
            format!("{}: {} where at most {} is allowed", g.what, number(g.measured), number(g.at_most))
        };
        self.goals.iter().filter(|g| !met(g)).map(line).collect()
    }

    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            write!(text, "\n## {}\n\n{}\n\n", table.title, table.words).unwrap();
            text += &rows(&table.head, &table.rows);
        }
        text += "\n## Goals\n\nHeld by `make statistics`. Every `make test` looks at a smaller sample, and fails where \
                 that sample refutes a goal. A share of false rollbacks is held against what α = 1 % exceeds by \
                 chance in one sample of a thousand; that α is kept is what the upper limits show.\n\n";
        let cells = |g: &Goal| vec![g.what.clone(), number(g.measured), number(g.at_most)];
        let goals: Vec<Vec<String>> = self.goals.iter().map(cells).collect();
        text += &rows(&["what".into(), "measured".into(), "at most".into()], &goals);
        if !self.misses.is_empty() {
            text += "\n## What does not hold\n\n";
            let with_why = |m: &Miss| {
                let mut cells = cells(&m.goal);
                cells.push(m.why.into());
                cells
            };
            let misses: Vec<Vec<String>> = self.misses.iter().map(with_why).collect();
            text += &rows(&["what".into(), "measured".into(), "goal".into(), "why".into()], &misses);
        }
        text
    }
}

fn rows(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<String> = head.iter().map(|_| "---".to_owned()).collect();
    line(head) + &line(&rule) + &rows.iter().map(|row| line(row)).collect::<String>()
}

/// A number as it stands in a table: thousands apart, no digits that mean nothing.
pub fn number(x: f64) -> String {
    if x.is_infinite() {
        return "–".into();
    }
    if x == 0.0 || x >= 1e9 {
        return format!("{x}");
    }
    let decimals = if x.abs() >= 20.0 {
        0
    } else if x.abs() >= 1.0 {
        2
    } else {
        4
    };
    let plain = format!("{x:.decimals$}");
    let (whole, part) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let part = part.trim_end_matches('0');
    if part.is_empty() { grouped } else { format!("{grouped}.{part}") }
}

pub fn percent(share: f64) -> String {
    let plain = format!("{:.1}", 100.0 * share);
    format!("{} %", plain.strip_suffix(".0").unwrap_or(&plain))
}
