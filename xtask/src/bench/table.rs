//! The table of a scenario: a line for each figure, a column for each target, medians, and their ratios to Roost.

use super::{
    Figures,
    scenario::Scenario,
    target::{Programs, Target},
};
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

/// What went wrong: of several runs the worst is shown.
pub(super) const FAULTS: [&str; 6] = [
    "lost",
    "doubled",
    "reordered",
    "errors",
    "unanswered",
    "closed by the server",
];

pub(super) struct Table {
    name: String,
    /// What the generator is asked.
    command: String,
    figures: &'static [&'static str],
    columns: Vec<Column>,
}

struct Column {
    title: String,
    /// The place of the column that it is compared with.
    base: Option<usize>,
    /// By their number.
    runs: BTreeMap<usize, Figures>,
}

impl Table {
    pub(super) fn new(scenario: &Scenario, targets: &[Target], programs: &Programs) -> Self {
        let place = |target: Target| targets.iter().position(|other| *other == target);
        let column = |target: &Target| Column {
            title: match (target, &programs.before) {
                (Target::Before(_), Some(before)) => format!("{target} ({})", before.name),
                _ => target.to_string(),
            },
            base: target.base().and_then(place),
            runs: BTreeMap::new(),
        };
        Self {
            name: scenario.name.clone(),
            command: [&scenario.options[..], &scenario.arguments[..]]
                .concat()
                .join(" "),
            figures: scenario.figures,
            columns: targets.iter().map(column).collect(),
        }
    }

    /// Of targets that are compared with none.
    pub(super) fn without_ratios(
        name: &str,
        command: &str,
        figures: &'static [&'static str],
        titles: impl Iterator<Item = String>,
    ) -> Self {
        let column = |title| Column {
            title,
            base: None,
            runs: BTreeMap::new(),
        };
        Self {
            name: name.to_owned(),
            command: command.to_owned(),
            figures,
            columns: titles.map(column).collect(),
        }
    }

    pub(super) fn add(&mut self, target: usize, run: usize, figures: Figures) {
        self.columns[target].runs.insert(run, figures);
    }

    /// The head, and a row for each figure that any target has.
    fn rows(&self) -> Vec<Vec<String>> {
        let runs = self.runs();
        let mut head = vec![String::new()];
        head.extend(self.columns.iter().map(|column| column.head(runs)));
        let mut rows = vec![head];
        for name in self.figures {
            let mut runs = self.columns.iter().flat_map(|column| column.runs.values());
            let Some((_, unit)) = runs.find_map(|run| run.get(*name)) else {
                continue;
            };
            let mut row = vec![match unit.as_str() {
                "" => (*name).to_owned(),
                unit => format!("{name}, {unit}"),
            }];
            row.extend(self.columns.iter().map(|column| self.cell(column, name)));
            rows.push(row);
        }
        rows
    }

    fn cell(&self, column: &Column, name: &str) -> String {
        let values: Vec<f64> = column.values(name).map(|(_, value)| value).collect();
        let Some(all) = Range::of(values) else {
            return "-".to_owned();
        };
        if FAULTS.contains(&name) {
            return number(all.greatest);
        }
        let base = column.base.map(|base| &self.columns[base]);
        let ratios = base.and_then(|base| Range::of(column.ratios(base, name)));
        ratios.map_or_else(
            || format!("{}{}", number(all.median), all.spread()),
            |ratios| {
                let (value, ratio) = (number(all.median), number(ratios.median));
                format!("{value} (x {ratio}{})", ratios.spread())
            },
        )
    }

    /// How often the most successful target was measured.
    fn runs(&self) -> usize {
        let runs = self.columns.iter().map(|column| column.runs.len());
        runs.max().unwrap_or_default()
    }

    pub(super) fn markdown(&self) -> String {
        let how_often = match self.runs() {
            1 => "measured once".to_owned(),
            runs => format!("medians of {runs} runs"),
        };
        let mut text = format!(
            "\n## {}\n\n`roost-loadtest {}`; {how_often}.\n\n",
            self.name, self.command
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

impl Column {
    /// With the number of its runs, when there should be more.
    fn head(&self, runs: usize) -> String {
        match self.runs.len() {
            own if own < runs => format!("{} ({own} of {runs} runs)", self.title),
            _ => self.title.clone(),
        }
    }

    /// A figure, by the number of its run.
    fn values(&self, name: &str) -> impl Iterator<Item = (usize, f64)> {
        let value = move |(run, figures): (&usize, &Figures)| Some((*run, figures.get(name)?.0));
        self.runs.iter().filter_map(value)
    }

    /// To another target in the same round, while the machine was as it was.
    fn ratios(&self, base: &Self, name: &str) -> Vec<f64> {
        let bases: BTreeMap<usize, f64> = base.values(name).collect();
        let ratio = |(run, value): (usize, f64)| {
            let base = bases.get(&run).filter(|base| **base > 0.0)?;
            Some(value / base)
        };
        self.values(name).filter_map(ratio).collect()
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

/// Values of several runs.
struct Range {
    least: f64,
    median: f64,
    greatest: f64,
}

impl Range {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let upper = values.len() / 2;
        let lower = values.len().checked_sub(1)? / 2;
        Some(Self {
            least: *values.first()?,
            median: f64::midpoint(values[lower], values[upper]),
            greatest: *values.last()?,
        })
    }

    /// How far the runs were from the median, the farthest of them.
    fn spread(&self) -> String {
        let away = (self.greatest - self.median).max(self.median - self.least);
        if self.median == 0.0 || away == 0.0 {
            return String::new();
        }
        format!(" ±{:.0} %", away / self.median * 100.0)
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

    fn figures(cost: f64, lost: f64) -> Figures {
        let figure = |name: &str, value, unit: &str| (name.to_owned(), (value, unit.to_owned()));
        [
            figure("server CPU per delivery", cost, "µs"),
            figure("lost", lost, ""),
        ]
        .into()
    }

    fn column(title: &str, base: Option<usize>) -> Column {
        Column {
            title: title.to_owned(),
            base,
            runs: BTreeMap::new(),
        }
    }

    #[test]
    fn others_are_shown_by_their_ratio_in_the_same_round() {
        let mut table = Table {
            name: "fanout".to_owned(),
            command: "fanout".to_owned(),
            figures: &["server CPU per delivery", "delivery p50", "lost"],
            columns: vec![
                column("Roost, SQLite", None),
                column("Roost, PostgreSQL", None),
                column("Node", Some(1)),
            ],
        };
        for (run, (sqlite, postgres, lost)) in
            [(50.0, 10.0, 0.0), (50.0, 11.0, 0.0), (50.0, 20.0, 7.0)]
                .into_iter()
                .enumerate()
        {
            table.add(0, run, figures(sqlite, 0.0));
            table.add(1, run, figures(postgres, 0.0));
            // Twice as much each time, whatever the machine did.
            table.add(2, run, figures(2.0 * postgres, lost));
        }
        let rows = table.rows();
        assert_eq!(rows.len(), 3, "a figure that no target has is left out");
        assert_eq!(
            rows[1],
            [
                "server CPU per delivery, µs",
                "50.0",
                "11.0 ±82 %",
                "22.0 (x 2.00)"
            ]
        );
        assert_eq!(
            rows[2],
            ["lost", "0.00", "0.00", "7.00"],
            "the worst is shown"
        );
        assert!(table.markdown().contains("| 22.0 (x 2.00) |"));

        table.columns[2].runs.remove(&0);
        assert_eq!(table.rows()[0][3], "Node (2 of 3 runs)");
    }

    #[test]
    fn the_median_of_two_is_between_them() {
        let range = Range::of(vec![3.0, 1.0]).unwrap();
        assert!((range.median - 2.0).abs() < 1e-9);
        assert_eq!(range.spread(), " ±50 %");
        assert!(Range::of(Vec::new()).is_none());
    }
}
