//! The table of a scenario: a line for each figure, a column for each target, medians, and their ratios to the first.

use super::{Figures, scenario::Scenario, target::Target};
use std::fmt::{self, Write};

/// Runs that are further apart than this are said to be.
const SPREAD_SHOWN: f64 = 0.1;

pub(super) struct Table {
    name: String,
    command: String,
    figures: &'static [&'static str],
    targets: Vec<String>,
    /// By target, then by run.
    runs: Vec<Vec<Figures>>,
}

impl Table {
    pub(super) fn new(scenario: &Scenario, targets: &[Target]) -> Self {
        Self {
            name: scenario.name.clone(),
            command: scenario.arguments.join(" "),
            figures: scenario.figures,
            targets: targets.iter().map(Target::to_string).collect(),
            runs: vec![Vec::new(); targets.len()],
        }
    }

    pub(super) fn add(&mut self, target: usize, figures: &Figures) {
        self.runs[target].push(figures.clone());
    }

    /// As text in columns, or as Markdown.
    fn rows(&self) -> Vec<Vec<String>> {
        let mut head = vec![String::new()];
        head.extend(self.targets.iter().cloned());
        let mut rows = vec![head];
        for name in self.figures {
            let values: Vec<_> = self
                .runs
                .iter()
                .map(|runs| Values::of(runs, name))
                .collect();
            let Some(unit) = self
                .runs
                .iter()
                .flatten()
                .find_map(|run| Some(&run.get(*name)?.1))
            else {
                continue;
            };
            let first = values
                .first()
                .and_then(|first| Some(first.as_ref()?.median));
            let title = if unit.is_empty() {
                (*name).to_owned()
            } else {
                format!("{name}, {unit}")
            };
            let mut row = vec![title];
            row.extend(values.iter().enumerate().map(|(place, values)| {
                let base = first.filter(|_| place > 0);
                values
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |values| values.show(base))
            }));
            rows.push(row);
        }
        rows
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "\n## {}\n\n`roost-loadtest {}`; medians of {} runs.\n\n",
            self.name,
            self.command,
            self.runs.first().map_or(0, Vec::len)
        );
        for (number, row) in self.rows().iter().enumerate() {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if number == 0 {
                let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
            }
        }
        text
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        for row in &rows {
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                if column == 0 {
                    write!(out, "{cell:<width$}")?;
                } else {
                    write!(out, "  {cell:>width$}")?;
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// One figure of one target, over its runs.
struct Values {
    median: f64,
    /// How far the runs were apart, as a part of the median.
    spread: f64,
}

impl Values {
    fn of(runs: &[Figures], name: &str) -> Option<Self> {
        let mut values: Vec<f64> = runs
            .iter()
            .filter_map(|run| Some(run.get(name)?.0))
            .collect();
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let median = values[values.len() / 2];
        let spread = if median == 0.0 {
            0.0
        } else {
            (greatest - least) / median
        };
        Some(Self { median, spread })
    }

    /// `first`: what the first target has, if this is another.
    fn show(&self, first: Option<f64>) -> String {
        let mut text = number(self.median);
        if let Some(first) = first.filter(|first| *first > 0.0) {
            let _ = write!(text, " (x {})", number(self.median / first));
        }
        if self.spread > SPREAD_SHOWN {
            let _ = write!(text, " ±{:.0} %", self.spread * 50.0);
        }
        text
    }
}

/// Three significant digits, or all before the point.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        100.0.. => 0,
        10.0..100.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(value: f64) -> Figures {
        let figure = (
            "server CPU per delivery".to_owned(),
            (value, "µs".to_owned()),
        );
        [figure].into()
    }

    #[test]
    fn others_are_shown_by_their_ratio_to_the_first() {
        let mut table = Table {
            name: "fanout".to_owned(),
            command: "fanout".to_owned(),
            figures: &["server CPU per delivery", "delivery p50"],
            targets: vec!["Roost, SQLite".to_owned(), "Node".to_owned()],
            runs: vec![Vec::new(), Vec::new()],
        };
        for (roost, node) in [(10.0, 19.0), (11.0, 30.0), (10.5, 21.0)] {
            table.add(0, &figures(roost));
            table.add(1, &figures(node));
        }
        let rows = table.rows();
        assert_eq!(rows.len(), 2, "a figure that no target has is left out");
        assert_eq!(
            rows[1],
            ["server CPU per delivery, µs", "10.5", "21.0 (x 2.00) ±26 %"]
        );
        assert!(table.markdown().contains("| 10.5 | 21.0 (x 2.00) ±26 % |"));
    }
}
